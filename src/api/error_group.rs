//! The JSON of a group of errors.

use crate::ErrorGroup;
use crate::api::json::{Time, json_fields};

json_fields! {
    /// A group of errors. The names of these fields are a contract.
    pub ErrorGroupJson(group: &'a ErrorGroup) {
        id: group.id,
        message: group.message,
        jobs: group.jobs,
        first_at: Time(group.first_at),
        last_at: Time(group.last_at),
        kinds: group.kinds,
        example: group.example,
        error: group.error,
    }
}
