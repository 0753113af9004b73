// Command bench measures Trunkline beside what people would use instead, and beside its floor,
// which is quic-go and nothing else.
//
//	go run . rpc|chat|session [--quick] [--json] [--plot FILE.svg] [--works GLOB,…] [--peers NAME,…] [--rounds N] [--profile DIR]
//
// # How it measures
//
// Each peer has a server process and a client process on the loopback, which are this program
// executed again, and talk JSON lines with it (see child.go). They are started before the first
// round and idle while others are measured. Every work runs in rounds, in each round every
// peer has its turn, and the order rotates, so that a noisy minute hits all alike. A
// row is the median over the rounds, with minimum and maximum. Connections are made when a work
// begins and stay for all its rounds; every turn begins with a garbage collection and a
// warm-up that is not measured.
//
// # Rows
//
//	per_second      operations a second, see the works
//	p50_us, p99_us  latency of one operation in µs; from the scheduled time where load is paced
//	client_cpu_us   CPU of the client process in µs an operation, user and system (getrusage)
//	server_cpu_us   the same of the server process
//	client_allocs   allocations an operation in the client process (runtime.MemStats.Mallocs)
//	server_allocs   the same of the server process
//	spread          minimum and maximum over the rounds
//	extra           what only some works have, see there
//
// # Works
//
//	unary-SIZE-N        echo of 64 B or 16 KiB by N callers at once on one connection, closed loop
//	stream-1K           one server stream of 1 KiB messages; latency is the age of a message when it arrives
//	pingpong-1K         one bidi stream, one message of 1 KiB each way at a time
//	bulk                1 GB (--quick: 96 MB) in one stream of 64 KiB messages; extra mb_per_second
//	beside-bulk         64 B calls of one caller while a bulk stream fills the same connection; extra bulk_mb_per_second
//	fanout-N            one publisher, N subscribers, each with a connection of its own; lines of 100 B, as fast
//	                    as all of them get every one. An operation is a delivery. 512 lines may be on
//	                    their way at once, for all peers alike, so that nobody is fast by losing any
//	fanout-100-paced    100 lines a second; latency from the time at which the line was due
//	fanout-100-fsync    as fanout-100, each line on the disk before it is acknowledged and shown: beside JetStream with
//	                    sync_interval: always
//	fanout-100-stalled  the same, with one more subscriber, which reads nothing
//	establish-KEY       full handshake with mutual TLS, hello and its answer, then release; 8 at a time, each
//	                    from a socket of its own; extra dial_p50_us and dial_p99_us without the release
//	idle-N              the server holds N sessions that have joined a room. per_second is N, the sessions held;
//	                    the latencies are those of dialing them, 16 at a time; the CPU figures are
//	                    µs a session and second of idling; extra bytes_per_session (resident), heap_per_session,
//	                    stack_per_session, goroutines_per_session. The processes are new in every round
//	idle-N-noroom       the same without a room: the floor has one stream less
//	reconnect           from dialing to the first line of the room's history, one after the other; the
//	                    release before the next one is not in the latency, but in the rest
//	restart-first-call  from the moment a killed server is there again to the first answered call of a client who
//	                    had a connection. Trunkline waits for a random time of up to 100 ms before it connects
//	                    again, so that a server is not overrun; the floor does not wait. Both sides are in the
//	                    client's process, and the rates and CPU figures are of no use
//	path-change-first-call  from the wish to move a connection to a new socket to the first answered call
package main
