-- Takes that change back.
ALTER TABLE tao.object COMMENT = ''
