//! tao-leader-follower
