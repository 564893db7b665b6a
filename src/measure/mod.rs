//! jobq measured beside raw SQLite: what `jobq bench` and `cargo bench` share. Not part of the API.
//!
//! Every figure stands beside the one that it is to be compared with, taken on the same disk at the
//! same durability. Nothing is judged here.

mod change;
mod claim;
mod crowd;
mod figures;
mod latency;
mod life;
mod process;
mod scratch;
mod setup;

pub use change::changes_per_s;
pub use claim::{ClaimCost, claim_cost};
pub use crowd::{Crowd, crowd_of_connections, crowd_of_one_queue};
pub use figures::{Spread, median, per_s, thousands};
pub use latency::{Listener, enqueue_stamped, start_latency};
pub use life::{Life, Load, drain, life_of_floor, life_of_queue};
pub use process::{cpu_time, peak_memory_bytes, written_bytes};
pub use scratch::Scratch;
pub use setup::{PAYLOAD_BYTES, Setup, fill, payload};

pub use crate::store::floor::sqlite_version;
