// Package floor is the floor of one room, after RFC 8855 (BFCP): who may speak, who waits for it, and who
// decides. It is a state machine and nothing else: it has no clock, reads and writes nothing, and starts no
// goroutine.
//
// # Decide, then commit
//
// What happens to a floor is records of a log, and is true when they are there. So nothing is
// changed by [Floor.Decide], which answers what an [Action] would do, or by [Floor.Due], which answers what time has
// brought about: a [Decision], with a [Transition] for each record. [Floor.Commit] makes it true. If the records can't be appended the
// decision is forgotten, and nothing has happened. A state is encoded with [Floor.Encode], and the
// transitions replayed over the state before give the state after, byte for byte.
//
// Who is there is no record: [Floor.Present], [Floor.Lost], [Floor.Ended], [Floor.Bar] and [Floor.Chair] are facts, and
// hold at once. What follows from them is due, and stays so until it is committed. [Floor.NextDeadline] tells when to look.
//
// # Requests
//
// A request is of one party: an identity, its session, and its producer. Where a chair is there (see Chair
// below) it is pending until they decide. Otherwise the server accepts it, and the queue is in order of priority, then
// time; a chair can give it another place. The first whose session is there is granted the floor when that is free. Who
// leaves the queue is followed by the others without transitions of theirs: [Transition].Queue shows it.
//
// This is what becomes of a request, by what happens; where the floor is not the request's own, somebody else holds it,
// unless the event says "free". A dash means that nothing becomes of it, ! that the action is refused.
//
//	event                         none        pending    accepted   granted
//	Request, a chair is there     pending     !exists    !exists    !exists
//	Request, no chair             accepted    !exists    !exists    !exists
//	Request, no chair, free       granted     !exists    !exists    !exists
//	Release                       !not found  cancelled  cancelled  released
//	Pass to it                    granted     granted    granted    !precondition
//	Accept                        !not found  accepted   -          !precondition
//	Accept, free                  !not found  granted    -          !precondition
//	Grant                         !not found  accepted   -          !precondition
//	Grant, free                   !not found  granted    -          !precondition
//	Deny                          !not found  denied     denied     !precondition
//	Revoke                        -           -          granted    revoked
//	Renew                         !precondition  !precondition  !precondition  -
//	session lost                  -           -          -          -
//	session lost, back in time    -           -          -          -
//	session lost, grace over      -           cancelled  cancelled  revoked
//	session ended in order        -           cancelled  cancelled  released
//	session ended otherwise       -           cancelled  cancelled  revoked
//	they are barred               -           denied     denied     revoked
//	lease over                    -           -          granted    revoked
//	longest hold over             -           -          granted    revoked
//	undecided too long            -           accepted   -          -
//	undecided too long, DenyAll   -           denied     -          -
//	chair away too long           -           accepted   -          -
//	chair away too long, DenyAll  -           denied     -          -
//	chair away too long, free     -           granted    -          -
//	restart, back in time         -           here       here       here
//	restart, grace nearly over    -           missed     missed     missed
//	restart, grace over           -           cancelled  cancelled  revoked
//
// Denied, cancelled, released and revoked are terminal. Each request comes to one of them, if the lease or the longest hold
// has a bound, and nobody does anything: with time.
//
// # Grants
//
// Grants are numbered. The numbers rise, and none is given twice (C5): also over restarts of the server, and when
// the log has lost records. A grant belongs to one session. [Floor.MayPublish] is the fence: of the records that
// need the floor only those are appended whose session has the grant that they name. Of the lease, the longest hold, and the
// grace after a loss, the earliest ends a grant.
//
// After a restart the server knows no sessions. Within the grace the requests and the grant are taken over by the first session of
// the same identity and producer.
//
// # Several servers
//
// Servers that share a log have a floor each of the same room, with the state that the log has ([Floor.Reload]), and each knows its own sessions.
// What it has the session of is its to end, and to grant. It asks the others before it ends anything else, with a transition to
// [Missed]; who has the session answers with one to [Here], which also says that a session has come back, or gone over to another
// server. So a grant is one session's over all servers. The chair is one who is there with the server that has the session of the request.
//
// # Chair
//
// A floor is chaired while an appointed chair is there (Settings.Chaired says that one is appointed), and for
// Settings.ChairAway after that. A chair who is there and does not decide blocks a request for Settings.Undecided at most.
// Then Settings.NoChair says what becomes of it. What a chair may do they may do on any floor; whether somebody is
// one, the caller knows.
package floor
