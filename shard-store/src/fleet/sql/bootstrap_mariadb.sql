CREATE DATABASE IF NOT EXISTS mysql;
USE mysql;
SET @auth_root_socket = 'root';
