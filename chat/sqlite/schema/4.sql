-- Version 4: texts are found by their words.

-- The words of the texts, each under its record's key. The texts themselves are in records alone. A text is taken out by being
-- given once more, as it was put in: by unindex, before it is taken from records.
CREATE VIRTUAL TABLE texts USING fts5 (body, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2');

-- The seq up to which a room's records are indexed. What is behind that is indexed some time after it has been appended.
CREATE TABLE indexed (
	room INTEGER PRIMARY KEY,
	last INTEGER NOT NULL
);
