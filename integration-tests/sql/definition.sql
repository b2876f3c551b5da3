-- A definition that changes under the tier, and changes nothing else.
ALTER TABLE tao.object COMMENT = 'changed under the tier'
