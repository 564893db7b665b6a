//! What holds for the store as a whole: plans, neighbours, rules, cost, the writer, and opening.

mod ahead;
mod architecture;
mod claims;
mod cost;
mod crashes;
mod fence;
mod model;
mod neighbours;
mod neighbours_of_attempts;
mod opening;
mod plans;
mod random;
mod readers;
mod rules;
mod sandbox;
mod states;
mod town;
mod transaction;
mod writing;
