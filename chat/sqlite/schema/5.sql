-- Version 5: how far somebody has come in a room.

-- Seqs, which only rise, and are those of records that there have been. 0: none.
CREATE TABLE marks (
	room      INTEGER NOT NULL,
	who       TEXT NOT NULL,
	read      INTEGER NOT NULL,
	delivered INTEGER NOT NULL,
	PRIMARY KEY (room, who)
) WITHOUT ROWID;
