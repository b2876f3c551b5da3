-- Whether this account is shown every database that there is.
SELECT COUNT(*) FROM information_schema.user_privileges
WHERE privilege_type = 'SHOW DATABASES' AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')
