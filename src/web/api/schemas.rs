//! The schemas of what is sent and answered, each with an example.

use serde_json::{Map, Value, json};

use crate::Queue;

/// A schema: its fields with their types, and an example as JSON.
pub(crate) struct RecordSchema {
    pub(crate) name: &'static str,
    /// `name: type` separated by blanks; see [`type_of`].
    fields: &'static str,
    example: &'static str,
}

const fn schema(name: &'static str, fields: &'static str, example: &'static str) -> RecordSchema {
    RecordSchema {
        name,
        fields,
        example,
    }
}

impl RecordSchema {
    /// As JSON Schema.
    pub(crate) fn value(&self) -> Value {
        let mut example: Value = serde_json::from_str(self.example).unwrap_or_default();
        // What this server says of itself.
        if let Some(schema) = example.get_mut("schema") {
            *schema = Queue::schema_version().into();
            example["version"] = env!("CARGO_PKG_VERSION").into();
        }
        if self.fields == "any" {
            return json!({ "description": "Any JSON", "examples": [example] });
        }
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in self.fields.split_whitespace() {
            let (name, kind) = field.split_once(':').unwrap_or((field, "any"));
            let optional = name.strip_suffix('?');
            if optional.is_none() {
                required.push(name);
            }
            properties.insert(optional.unwrap_or(name).to_owned(), type_of(kind));
        }
        json!({ "type": "object", "properties": properties, "required": required, "examples": [example] })
    }
}

/// `int`, `num`, `str`, `bool`, `time`, `any`, the name of a schema; `[T]` a list of it, `T|null` or none, `a/b` one of
/// these texts.
fn type_of(kind: &str) -> Value {
    if let Some(kind) = kind.strip_suffix("|null") {
        return match type_of(kind) {
            Value::Object(mut plain) if plain.contains_key("type") => {
                let name = plain["type"].clone();
                plain.insert("type".to_owned(), json!([name, "null"]));
                Value::Object(plain)
            }
            other => json!({ "anyOf": [other, { "type": "null" }] }),
        };
    }
    if let Some(item) = kind
        .strip_prefix('[')
        .and_then(|kind| kind.strip_suffix(']'))
    {
        return json!({ "type": "array", "items": type_of(item) });
    }
    if kind.contains('/') {
        let texts: Vec<&str> = kind.split('/').collect();
        return json!({ "type": "string", "enum": texts });
    }
    match kind {
        "int" => json!({ "type": "integer" }),
        "num" => json!({ "type": "number" }),
        "str" => json!({ "type": "string" }),
        "bool" => json!({ "type": "boolean" }),
        "time" => json!({ "type": "string", "format": "date-time" }),
        "obj" => json!({ "type": "object" }),
        "any" => json!({}),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

const JOB_FIELDS: &str = "id:int kind:str queue:str tenant:str|null tags:obj|null state:str priority:str payload:any \
    result:any error:str|null progress:obj|null attempt:int retries_left:int max_retries:int backoff:str|null \
    retry_delays_ms:[int]|null jitter:bool timeout_ms:int|null unique_key:str|null key:str|null parent_id:int|null \
    children:obj|null depends_on:[int]|null schedule:str|null slot:time|null hooks:any hook_jobs:any hook_of:any \
    run_at:time|null deadline:time|null created_at:time updated_at:time started_at:time|null finished_at:time|null \
    runner:int|null worker:int|null";

const JOB_EXAMPLE: &str = r#"{"id":42,"kind":"resize","queue":"images","tenant":null,"tags":null,"state":"pending",
    "priority":"normal","payload":{"photo":"cat.jpg"},"result":null,"error":null,"progress":null,"attempt":0,
    "retries_left":3,"max_retries":3,"backoff":"exponential","retry_delays_ms":null,"jitter":true,"timeout_ms":null,
    "unique_key":null,"key":null,"parent_id":null,"children":null,"depends_on":null,"schedule":null,"slot":null,
    "hooks":null,"hook_jobs":null,"hook_of":null,"run_at":null,"deadline":null,"created_at":"2026-03-01T12:00:00.007Z",
    "updated_at":"2026-03-01T12:00:00.007Z","started_at":null,"finished_at":null,"runner":null,"worker":null}"#;

/// All schemas.
#[rustfmt::skip]
pub(crate) const SCHEMAS: &[RecordSchema] = &[
    schema("Anything", "any", r#"{"photo":"cat.jpg"}"#),
    schema("Problem", "type:str title:str status:int detail:str hint:str|null",
        r#"{"type":"/problems/not-found","title":"There is no such thing","status":404,"detail":"no job 42","hint":null}"#),
    schema("Health", "ok:bool", r#"{"ok":true}"#),
    schema("Features", "version:str schema:int read_only:bool exec:bool tenant:str|null kinds:[str] undo:bool live:bool db:str",
        r#"{"version":"","schema":0,"read_only":false,"exec":false,"tenant":null,"kinds":["sleep"],"undo":true,"live":true,"db":"jobs.db"}"#),
    schema("Counts", "scheduled:int blocked:int pending:int running:int waiting:int completed:int failed:int cancelled:int",
        r#"{"scheduled":0,"blocked":0,"pending":2,"running":1,"waiting":0,"completed":7,"failed":0,"cancelled":0}"#),
    schema("CountsAt", "counts:Counts at:int",
        r#"{"counts":{"scheduled":0,"blocked":0,"pending":2,"running":1,"waiting":0,"completed":7,"failed":0,"cancelled":0},"at":57}"#),
    schema("Queue", "name:str paused:bool paused_at:time|null counts:Counts concurrency:int|null rate:obj|null max_size:int|null weight:int",
        r#"{"name":"images","paused":false,"paused_at":null,"counts":{"scheduled":0,"blocked":0,"pending":2,"running":1,"waiting":0,"completed":7,"failed":0,"cancelled":0},"concurrency":2,"rate":{"jobs":10,"per_ms":60000},"max_size":null,"weight":1}"#),
    schema("Verdict", "rule:str jobs:int at_least:bool message:str hint:str|null action:Action|null",
        r#"{"rule":"queue_paused","jobs":412,"at_least":false,"message":"queue 'images' is paused","hint":"`jobq resume images` resumes it","action":{"method":"POST","path":"/api/v1/queues/images/resume","body":null,"label":"Resume images"}}"#),
    schema("Action", "method:str path:str body:any label:str",
        r#"{"method":"POST","path":"/api/v1/queues/images/resume","body":null,"label":"Resume images"}"#),
    schema("QueueVerdict", "queue:str pending:int items:[Verdict]", r#"{"queue":"images","pending":0,"items":[]}"#),
    schema("QueueWhy", "name:str paused:bool paused_at:time|null counts:Counts concurrency:int|null rate:obj|null max_size:int|null weight:int why:[Verdict]",
        r#"{"name":"images","paused":false,"paused_at":null,"counts":{"scheduled":0,"blocked":0,"pending":2,"running":1,"waiting":0,"completed":7,"failed":0,"cancelled":0},"concurrency":null,"rate":null,"max_size":null,"weight":1,"why":[]}"#),
    schema("Queues", "queues:[Queue] all_paused_at:time|null", r#"{"queues":[],"all_paused_at":null}"#),
    schema("Worker", "worker:int|null job:int|null kind:str|null since:time|null", r#"{"worker":1,"job":42,"kind":"resize","since":"2026-03-01T12:00:00.007Z"}"#),
    schema("Runner", "id:int state:str pid:int host:str started_at:time heartbeat_at:time short_of?:str workers:[Worker]",
        r#"{"id":1,"state":"idle","pid":4711,"host":"box","started_at":"2026-03-01T12:00:00.007Z","heartbeat_at":"2026-03-01T12:00:00.007Z","workers":[]}"#),
    schema("Runners", "runners:[Runner]", r#"{"runners":[]}"#),
    schema("Rates", "completed_per_s:num failed_per_s:num", r#"{"completed_per_s":12.5,"failed_per_s":0.0}"#),
    schema("SlimJob", "id:int kind:str queue:str tenant:str|null tags:obj|null state:str priority:str attempt:int max_retries:int error:str|null progress:obj|null children:obj|null parent_id:int|null schedule:str|null run_at:time|null created_at:time started_at:time|null finished_at:time|null cancel_requested:bool runner:int|null worker:int|null task:str payload_bytes:int",
        r#"{"id":42,"kind":"exec","queue":"default","tenant":null,"tags":null,"state":"pending","priority":"normal","attempt":0,"max_retries":3,"error":null,"progress":null,"children":null,"parent_id":null,"schedule":null,"run_at":null,"created_at":"2026-03-01T12:00:00.007Z","started_at":null,"finished_at":null,"cancel_requested":false,"runner":null,"worker":null,"task":"ls -l","payload_bytes":80}"#),
    schema("JobsPage", "jobs:[SlimJob] next:int|null complete:bool searched_to:int|null searched_at:time|null at:int",
        r#"{"jobs":[],"next":null,"complete":true,"searched_to":null,"searched_at":null,"at":57}"#),
    schema("Overview", "at:int counts:Counts queues:[Queue] all_paused_at:time|null runners:[Runner] next_due_at:time|null verdicts:[QueueVerdict] failures:[SlimJob] rate:Rates",
        r#"{"at":57,"counts":{"scheduled":0,"blocked":0,"pending":0,"running":0,"waiting":0,"completed":7,"failed":0,"cancelled":0},"queues":[],"all_paused_at":null,"runners":[],"next_due_at":null,"verdicts":[],"failures":[],"rate":{"completed_per_s":0.0,"failed_per_s":0.0}}"#),
    schema("JobRecord", JOB_FIELDS, JOB_EXAMPLE),
    schema("Reason", "why:str message:str hint:str|null", r#"{"why":"no_runner","message":"job 42 is pending: no runner is active","hint":"start one with `jobq run`"}"#),
    schema("Why", "why:str message:str hint:str|null action:Action|null",
        r#"{"why":"no_runner","message":"job 42 is pending: no runner is active","hint":"start one with `jobq run`","action":null}"#),
    schema("Attempt", "attempt:int outcome:str|null error:str|null started_at:time|null finished_at:time|null duration_ms:int|null cpu_ms:int|null max_rss_bytes:int|null exit_code:int|null runner:int|null worker:int|null",
        r#"{"attempt":1,"outcome":"completed","error":null,"started_at":"2026-03-01T12:00:00.007Z","finished_at":"2026-03-01T12:00:01.007Z","duration_ms":1000,"cpu_ms":40,"max_rss_bytes":1048576,"exit_code":0,"runner":1,"worker":1}"#),
    schema("Attempts", "attempts:[Attempt]", r#"{"attempts":[]}"#),
    schema("Job", "id:int kind:str queue:str state:str payload:any attempts:[Attempt] why:Reason at:int",
        r#"{"id":42,"kind":"resize","queue":"images","state":"pending","payload":{},"attempts":[],"why":{"why":"no_runner","message":"job 42 is pending: no runner is active","hint":null},"at":57}"#),
    schema("Event", "id:int at:time kind:str job:int|null attempt:int|null runner:int|null worker:int|null took_ms:int|null data:any",
        r#"{"id":57,"at":"2026-03-01T12:00:00.007Z","kind":"job_enqueued","job":42,"attempt":null,"runner":null,"worker":null,"took_ms":null,"data":null}"#),
    schema("WordedEvent", "id:int at:time kind:str job:int|null attempt:int|null runner:int|null worker:int|null took_ms:int|null data:any text:str",
        r#"{"id":57,"at":"2026-03-01T12:00:00.007Z","kind":"job_enqueued","job":42,"attempt":null,"runner":null,"worker":null,"took_ms":null,"data":null,"text":"enqueued"}"#),
    schema("EventsPage", "events:[WordedEvent] next:int at_end:bool", r#"{"events":[],"next":57,"at_end":true}"#),
    schema("LogLine", "event:int at:time attempt:int|null stream:str level:str|null text:str fields:obj|null",
        r#"{"event":58,"at":"2026-03-01T12:00:00.007Z","attempt":1,"stream":"stdout","level":null,"text":"hello\n","fields":null}"#),
    schema("Logs", "lines:[LogLine] next:int prev:int|null at_end:bool", r#"{"lines":[],"next":58,"prev":null,"at_end":true}"#),
    schema("Slot", "slot:time|null job:int state:str", r#"{"slot":"2026-03-01T02:00:00.000Z","job":41,"state":"completed"}"#),
    schema("Schedule", "name:str cron:str timezone:str missed:str overlap:str origin:str declared_by:str|null job:any next_at:time|null last_at:time|null last_job_id:int|null paused_at:time|null created_at:time updated_at:time next_slots:[time] last_slots:[Slot]",
        r#"{"name":"nightly","cron":"0 2 * * *","timezone":"Europe/Berlin","missed":"once","overlap":"allow","origin":"added","declared_by":null,"job":{"kind":"cleanup"},"next_at":"2026-03-02T01:00:00.000Z","last_at":null,"last_job_id":null,"paused_at":null,"created_at":"2026-03-01T12:00:00.007Z","updated_at":"2026-03-01T12:00:00.007Z","next_slots":["2026-03-02T01:00:00.000Z"],"last_slots":[]}"#),
    schema("Schedules", "schedules:[Schedule]", r#"{"schedules":[]}"#),
    schema("Finding", "severity:str check:str what:str remedy:str|null", r#"{"severity":"ok","check":"counters","what":"the counters are right","remedy":null}"#),
    schema("Doctor", "findings:[Finding]", r#"{"findings":[]}"#),
    schema("ErrorGroup", "id:str message:str jobs:int first_at:time last_at:time kinds:[str] example:int error:str",
        r#"{"id":"ab12cd34","message":"N of N rows","jobs":7,"first_at":"2026-03-01T12:00:00.007Z","last_at":"2026-03-01T12:00:01.007Z","kinds":["import"],"example":42,"error":"3 of 9 rows"}"#),
    schema("Errors", "groups:[ErrorGroup] complete:bool searched_to:int|null", r#"{"groups":[],"complete":true,"searched_to":null}"#),
    schema("StatsPoint", "at:time completed:int failed:int retried:int cancelled:int run_p50_ms:num|null run_p95_ms:num|null run_p99_ms:num|null wait_p50_ms:num|null wait_p95_ms:num|null wait_p99_ms:num|null",
        r#"{"at":"2026-03-01T12:00:00.000Z","completed":7,"failed":0,"retried":0,"cancelled":0,"run_p50_ms":40.0,"run_p95_ms":90.5,"run_p99_ms":90.5,"wait_p50_ms":1.0,"wait_p95_ms":2.0,"wait_p99_ms":2.0}"#),
    schema("StatsSeries", "name:str|null points:[StatsPoint]", r#"{"name":null,"points":[]}"#),
    schema("Stats", "from:time to:time step_ms:int complete:bool series:[StatsSeries]",
        r#"{"from":"2026-03-01T12:00:00.000Z","to":"2026-03-01T13:00:00.000Z","step_ms":60000,"complete":true,"series":[]}"#),
    schema("Suggestions", "values:[str]", r#"{"values":["resize"]}"#),
    schema("BulkSearch", "search:str", r#"{"search":"state:failed kind:resize"}"#),
    schema("BulkBody", "action:cancel/retry/remove ids?:[int]|null filter?:BulkSearch|null as_of?:int|null dry_run?:bool", r#"{"action":"cancel","filter":{"search":"kind:resize"},"dry_run":true}"#),
    schema("BulkResult", "any", r#"{"bulk":1}"#),
    schema("Refusal", "id:int detail:str", r#"{"id":42,"detail":"the unique key 'a' is taken by job 43"}"#),
    schema("Bulk", "bulk:int action:str jobs:int refused:int refusals:[Refusal] finished:bool error:Problem|null",
        r#"{"bulk":1,"action":"cancel","jobs":1204,"refused":0,"refusals":[],"finished":true,"error":null}"#),
    schema("NewJobs", "any", r#"{"kind":"resize","payload":{"photo":"cat.jpg"},"queue":"images","retries":5}"#),
    schema("Enqueued", "any", r#"{"id":42,"state":"pending","duplicate":false}"#),
    schema("JobEdit", "queue?:str priority?:str in?:str at?:time retries?:int timeout?:str|null deadline?:str|null tenant?:str|null tags?:obj key?:str|null key_limit?:int unique?:str|null unique_for?:str|null payload?:any",
        r#"{"priority":"urgent","timeout":null}"#),
    schema("Edited", "id:int event:int|null", r#"{"id":42,"event":59}"#),
    schema("CancelResult", "id:int result:str event:int|null", r#"{"id":42,"result":"cancelled","event":60}"#),
    schema("RetryResult", "id:int state:str", r#"{"id":42,"state":"pending"}"#),
    schema("QueueLimits", "concurrency?:int|null rate?:str|null max_size?:int|null weight?:int|null", r#"{"concurrency":2,"rate":"10/1m"}"#),
    schema("EventRef", "event:int|null", r#"{"event":61}"#),
    schema("NewSchedule", "name:str cron:str timezone?:str|null missed?:str|null overlap?:str|null job:any",
        r#"{"name":"nightly","cron":"0 2 * * *","timezone":"Europe/Berlin","job":{"kind":"import","payload":{"day":"yesterday"}}}"#),
    schema("ScheduleResult", "name:str result:str", r#"{"name":"nightly","result":"added"}"#),
    schema("Changed", "changed:bool event:int|null", r#"{"changed":true,"event":62}"#),
    schema("UndoResult", "undone:str event:int|null", r#"{"undone":"job 42 is pending again","event":63}"#),
    schema("LimitsResult", "name:str paused:bool paused_at:time|null counts:Counts concurrency:int|null rate:obj|null max_size:int|null weight:int event:int|null",
        r#"{"name":"images","paused":false,"paused_at":null,"counts":{"scheduled":0,"blocked":0,"pending":2,"running":1,"waiting":0,"completed":7,"failed":0,"cancelled":0},"concurrency":2,"rate":null,"max_size":null,"weight":1,"event":64}"#),
];
