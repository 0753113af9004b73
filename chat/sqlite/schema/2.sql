-- Version 2: records that are no texts, and snapshots.

-- What the record is, and the seq of the one that it refers to.
ALTER TABLE records ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN ref INTEGER NOT NULL DEFAULT 0;

-- What was last given with a record of the room.
ALTER TABLE rooms ADD COLUMN snapshot BLOB;
