-- Whether an earlier run came so far that it stored one. (The first host group has it.)
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'tao_meta' AND table_name = 'topology'
