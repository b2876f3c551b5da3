//! tao-server
