//! What names are suggested for.

/// Where a name is looked up that begins with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameField {
    /// The kinds of jobs.
    Kind,
    /// The queues.
    Queue,
    /// The tenants of jobs.
    Tenant,
    /// The schedules, and those that have enqueued jobs.
    Schedule,
    /// The names of tags.
    TagName,
    /// The values of the tags with this name.
    TagValue(String),
}
