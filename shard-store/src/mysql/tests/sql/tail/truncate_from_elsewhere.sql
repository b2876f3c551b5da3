TRUNCATE TABLE `traps`.object
