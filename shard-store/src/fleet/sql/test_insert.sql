INSERT INTO kept.word (word) VALUES (?)
