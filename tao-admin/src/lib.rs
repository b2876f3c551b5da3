//! tao-admin
