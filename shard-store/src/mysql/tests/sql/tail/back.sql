USE traps
