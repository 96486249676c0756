//! Media between data planes over a real NATS server.

mod cluster;
mod faults;
mod hostile;
mod media;
mod nats;
