-- Version 3: what refers to a text is found.

CREATE INDEX records_ref ON records (room, ref) WHERE ref > 0;
