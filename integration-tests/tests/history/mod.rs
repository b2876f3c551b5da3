//! The judges, by histories made by hand: each refuses what must be refused, and accepts what is right.

mod caches;
mod collector;
mod files;
mod reads;
mod sessions;
mod tables;
mod world;
mod writes;
