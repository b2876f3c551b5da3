-- Undo records that are kept because somebody may still read what was before. Asking needs the privilege PROCESS.
SELECT CAST(GREATEST(m.count, 0) AS UNSIGNED) FROM information_schema.innodb_metrics m WHERE m.name = 'trx_rseg_history_len'
