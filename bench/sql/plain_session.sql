SET SESSION autocommit = 0, SESSION transaction_isolation = 'READ-COMMITTED'
