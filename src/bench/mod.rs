//! jobq measured beside raw SQLite: what `jobq bench` and `cargo bench` share. Not part of the API.
//!
//! Every figure stands beside the one that it is to be compared with, taken on the same disk at the
//! same durability. Nothing is judged here.

mod change;
mod crowd;
mod figures;
pub(crate) mod floor;
mod latency;
mod life;
mod many;
mod prune;
mod scratch;
mod setup;

pub use crate::bench::change::ClaimCost;
pub use crate::bench::change::changes_per_s;
pub use crate::bench::change::claim_cost;
pub use crate::bench::crowd::Crowd;
pub use crate::bench::crowd::crowd_of_connections;
pub use crate::bench::crowd::crowd_of_one_queue;
pub use crate::bench::figures::Spread;
pub use crate::bench::figures::median;
pub use crate::bench::figures::per_s;
pub use crate::bench::figures::thousands;
pub use crate::bench::latency::Listener;
pub use crate::bench::latency::enqueue_stamped;
pub use crate::bench::latency::start_latency;
pub use crate::bench::life::Life;
pub use crate::bench::life::Load;
pub use crate::bench::life::OneByOne;
pub use crate::bench::life::drain;
pub use crate::bench::life::life_of_floor;
pub use crate::bench::life::life_of_queue;
pub use crate::bench::life::one_by_one_of_floor;
pub use crate::bench::life::one_by_one_of_queue;
pub use crate::bench::many::many_jobs;
pub use crate::bench::prune::PruneCost;
pub use crate::bench::prune::prune_cost;
pub use crate::bench::scratch::Scratch;
pub use crate::bench::setup::PAYLOAD_BYTES;
pub use crate::bench::setup::Setup;
pub use crate::bench::setup::cpu_time;
pub use crate::bench::setup::fill;
pub use crate::bench::setup::payload;
pub use crate::bench::setup::peak_memory_bytes;
pub use crate::bench::setup::written_bytes;

pub use crate::bench::floor::sqlite_version;
