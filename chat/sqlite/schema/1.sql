-- Version 1.

-- What is known of the database as a whole.
CREATE TABLE meta (
	unsynced INTEGER NOT NULL, -- 1: it is, or was when it broke off, written without fsync
	copied   INTEGER NOT NULL  -- 1: it is a backup that has not been opened yet
);
INSERT INTO meta VALUES (0, 0);

-- The epochs that the database has been in. A room has been in each of them.
CREATE TABLE epochs (number INTEGER PRIMARY KEY);

CREATE TABLE rooms (
	id     INTEGER PRIMARY KEY,
	name   TEXT NOT NULL UNIQUE,
	head   INTEGER NOT NULL, -- seq of the newest record ever
	first  INTEGER NOT NULL, -- seq of the oldest that has its text, head + 1 if none has
	oldest INTEGER NOT NULL, -- seq of the oldest that is there, as a mark at least
	bytes  INTEGER NOT NULL  -- of the texts
);

-- The seq with which a room's part of an epoch begins; of an epoch in which nothing was appended to it there is no row.
CREATE TABLE room_epochs (
	room   INTEGER NOT NULL,
	number INTEGER NOT NULL,
	first  INTEGER NOT NULL,
	PRIMARY KEY (room, number)
) WITHOUT ROWID;

CREATE TABLE records (
	key      INTEGER PRIMARY KEY, -- room << 40 | seq, so that those of a room lie together
	room     INTEGER NOT NULL,
	epoch    INTEGER NOT NULL,
	time     INTEGER NOT NULL, -- Unix nanoseconds: when it was appended, or once body is NULL, trimmed
	sender   TEXT NOT NULL,
	producer BLOB NOT NULL,
	message  BLOB NOT NULL,    -- its id
	hash     INTEGER NOT NULL, -- of body
	body     BLOB              -- NULL: it has been trimmed, and is a mark
);

-- What makes a message the same (C3).
CREATE UNIQUE INDEX records_message ON records (room, producer, message, sender);
