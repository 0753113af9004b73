// Package sqlite keeps the rooms of a chat server in one SQLite database: a [chat.Log] that outlives the process.
//
// # What is acknowledged is there
//
// Append returns when its records are committed, and with [Fsync] that is when they are on the disk: SQLite's
// write-ahead log with synchronous=FULL. What waits is committed together, of whatever rooms, in one transaction with
// one fsync (group commit), so publishers do not wait in line for each other's.
//
// # Epochs
//
// Positions of one database go on for as long as it lives. Its epoch rises when records may have been lost: when a
// backup is opened for the first time, and when a database that was not written with [Fsync] was not closed.
//
// # Retention
//
// When a room has more than [Config] allows, its oldest records are trimmed: their texts go, and the first position
// moves on. What is left of each, for [MarksOutlive] after that, is who published it, its message id and
// a hash of its text, so that the same message is not appended again.
//
// # When it fails
//
// An append that finds the disk full is refused with rpc.ResourceExhausted; with a database that cannot be
// written, is damaged, or whose file has been moved, removed or replaced, with rpc.Unavailable. Nothing was appended then. Any other failure of
// the commit itself leaves open what was. The
// database is opened anew for the next append, so that it goes on by itself once the cause is gone.
//
// # The schema
//
// Version 1 (PRAGMA user_version), see schema.sql. A newer version than this package knows is refused, an older one is
// brought forward when it is opened. Several processes may have the database open, as
// a backup does; two servers may append to it, but do not hear of each other's records before they append themselves.
package sqlite
