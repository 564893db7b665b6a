//! What has changed between two readings of the same thing, as JSON: pure functions. Values stay as they are written,
//! so no number goes through a float.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The top-level fields of a JSON object, with values as they are written.
pub(crate) type JsonFields = BTreeMap<String, Box<RawValue>>;

/// The newest event that a reading may hold: it changes with every event, and belongs to the frame.
const AT: &str = "at";
const ROWS: &str = "jobs";

/// A page of jobs: its rows, and the other fields of the answer.
#[derive(Clone, Debug)]
pub(crate) struct RowsPage {
    rows: Vec<(i64, Box<RawValue>)>,
    rest: JsonFields,
}

/// What is shown of one reading.
#[derive(Clone, Debug)]
pub(crate) enum ViewReading {
    /// An object whose changed fields are sent.
    Object(JsonFields),
    /// An object that is sent as a whole when it has changed.
    Whole(JsonFields),
    Rows(RowsPage),
}

/// The object, and the event that it is at.
pub(crate) fn fields_of(body: &[u8]) -> serde_json::Result<(JsonFields, Option<i64>)> {
    let mut fields: JsonFields = serde_json::from_slice(body)?;
    let at = fields.remove(AT);
    let at = at.and_then(|at| serde_json::from_str(at.get()).ok());
    Ok((fields, at))
}

impl RowsPage {
    /// Takes the rows out of the fields of an answer.
    pub(crate) fn of(mut fields: JsonFields) -> serde_json::Result<RowsPage> {
        #[derive(Deserialize)]
        struct Id {
            id: i64,
        }
        let rows = fields.remove(ROWS);
        let rows = rows.as_ref().map_or("[]", |rows| rows.get());
        let rows: Vec<Box<RawValue>> = serde_json::from_str(rows)?;
        let rows = rows.into_iter().map(|row| {
            let Id { id } = serde_json::from_str(row.get())?;
            Ok((id, row))
        });
        Ok(RowsPage {
            rows: rows.collect::<serde_json::Result<_>>()?,
            rest: fields,
        })
    }

    pub(crate) fn has(&self, id: i64) -> bool {
        self.rows.iter().any(|(row, _)| *row == id)
    }
}

impl ViewReading {
    /// The whole of it, as a client sees it at first.
    pub(crate) fn snapshot(&self) -> serde_json::Result<String> {
        match self {
            ViewReading::Object(fields) | ViewReading::Whole(fields) => {
                serde_json::to_string(fields)
            }
            ViewReading::Rows(page) => {
                let jobs: Vec<&RawValue> = page.rows.iter().map(|(_, row)| &**row).collect();
                let mut text = serde_json::to_string(&page.rest)?;
                text.pop();
                let comma = if page.rest.is_empty() { "" } else { "," };
                Ok(format!(
                    "{text}{comma}\"{ROWS}\":{}}}",
                    serde_json::to_string(&jobs)?
                ))
            }
        }
    }

    /// What turns the other into this; none if they are the same.
    pub(crate) fn patch_from(&self, old: &ViewReading) -> serde_json::Result<Option<String>> {
        match (old, self) {
            (ViewReading::Object(old), ViewReading::Object(new)) => patch_of_fields(old, new),
            (ViewReading::Rows(old), ViewReading::Rows(new)) => patch_of_rows(old, new),
            (ViewReading::Whole(old), ViewReading::Whole(new)) => {
                match patch_of_fields(old, new)? {
                    Some(_) => serde_json::to_string(new).map(Some),
                    None => Ok(None),
                }
            }
            _ => self.snapshot().map(Some),
        }
    }
}

/// Whether the text of a field differs.
fn differs(old: &JsonFields, name: &str, new: Option<&RawValue>) -> bool {
    old.get(name).map(|value| value.get()) != new.map(RawValue::get)
}

/// `{"field":value,…}` of the fields that differ. A field that is gone is null.
fn patch_of_fields(old: &JsonFields, new: &JsonFields) -> serde_json::Result<Option<String>> {
    let changed = changed_fields(old, new);
    if changed.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&changed).map(Some)
}

fn changed_fields<'a>(
    old: &'a JsonFields,
    new: &'a JsonFields,
) -> BTreeMap<&'a str, Option<&'a RawValue>> {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let gone = gone.map(|name| (name.as_str(), None));
    let here = new.iter().map(|(name, value)| (name, &**value));
    let changed = here.filter(|(name, value)| differs(old, name, Some(value)));
    let changed = changed.map(|(name, value)| (name.as_str(), Some(value)));
    gone.chain(changed).collect()
}

/// `{"upsert":[row…],"remove":[id…],"order":[id…]|absent,…}`, and the other fields that differ. Rows that are gone are
/// removed, and others are replaced in their places; where that does not give the order already, it is there.
fn patch_of_rows(old: &RowsPage, new: &RowsPage) -> serde_json::Result<Option<String>> {
    #[derive(Serialize)]
    struct Patch<'a> {
        upsert: Vec<&'a RawValue>,
        remove: Vec<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        order: Option<Vec<i64>>,
        #[serde(flatten)]
        rest: BTreeMap<&'a str, Option<&'a RawValue>>,
    }
    let before: HashMap<i64, &str> = old.rows.iter().map(|(id, row)| (*id, row.get())).collect();
    let is_new = |(id, row): &&(i64, Box<RawValue>)| before.get(id) != Some(&row.get());
    let order: Vec<i64> = new.rows.iter().map(|(id, _)| *id).collect();
    let (stayed, removed): (Vec<i64>, Vec<i64>) =
        (old.rows.iter().map(|(id, _)| *id)).partition(|id| new.has(*id));
    let patch = Patch {
        upsert: (new.rows.iter().filter(is_new))
            .map(|(_, row)| &**row)
            .collect(),
        order: (stayed != order).then_some(order),
        remove: removed,
        rest: changed_fields(&old.rest, &new.rest),
    };
    let is_same = patch.upsert.is_empty()
        && patch.remove.is_empty()
        && patch.order.is_none()
        && patch.rest.is_empty();
    if is_same {
        return Ok(None);
    }
    serde_json::to_string(&patch).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn object(value: &Value) -> ViewReading {
        ViewReading::Object(fields_of(value.to_string().as_bytes()).unwrap().0)
    }

    fn page(value: &Value) -> ViewReading {
        let (fields, _) = fields_of(value.to_string().as_bytes()).unwrap();
        ViewReading::Rows(RowsPage::of(fields).unwrap())
    }

    fn patch(old: &ViewReading, new: &ViewReading) -> Option<Value> {
        let patch = new.patch_from(old).unwrap();
        patch.map(|patch| serde_json::from_str(&patch).unwrap())
    }

    fn ids(list: &Value) -> Vec<i64> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|id| id.as_i64().unwrap()).collect()
    }

    /// What a client does with a patch of rows, in the plainest way.
    fn apply_to_rows(old: &Value, patch: &Value) -> Value {
        let mut new = old.as_object().unwrap().clone();
        let id = |row: &Value| row["id"].as_i64().unwrap();
        let mut rows = old["jobs"].as_array().unwrap().clone();
        let removed = ids(&patch["remove"]);
        rows.retain(|row| !removed.contains(&id(row)));
        for row in patch["upsert"].as_array().unwrap() {
            match rows.iter_mut().find(|known| id(known) == id(row)) {
                Some(known) => *known = row.clone(),
                None => rows.push(row.clone()),
            }
        }
        if patch.get("order").is_some() {
            let order = ids(&patch["order"]);
            assert_eq!(order.len(), rows.len());
            rows.sort_by_key(|row| order.iter().position(|at| *at == id(row)).unwrap());
        }
        for (name, value) in patch.as_object().unwrap() {
            if !["upsert", "remove", "order"].contains(&name.as_str()) {
                new.insert(name.clone(), value.clone());
            }
        }
        new.insert("jobs".into(), rows.into());
        new.into()
    }

    #[test]
    fn the_event_is_taken_out_and_changes_nothing() {
        let (fields, at) = fields_of(br#"{"at":17,"counts":{"pending":1}}"#).unwrap();
        assert_eq!(at, Some(17));
        assert_eq!(
            ViewReading::Object(fields).snapshot().unwrap(),
            r#"{"counts":{"pending":1}}"#
        );
        let same = json!({"at": 18, "counts": {"pending": 1}});
        let old = json!({"at": 17, "counts": {"pending": 1}});
        assert_eq!(patch(&object(&old), &object(&same)), None);
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        let old = ViewReading::Object(fields_of(br#"{"payload":{"n":1.0}}"#).unwrap().0);
        let text = r#"{"payload":{"n":  12345678901234567890123.10}}"#;
        let new = ViewReading::Object(fields_of(text.as_bytes()).unwrap().0);
        assert_eq!(new.patch_from(&old).unwrap().as_deref(), Some(text));
    }

    #[test]
    fn a_patch_of_rows_says_what_came_what_went_and_the_order() {
        let old =
            json!({"jobs": [{"id": 3, "s": 1}, {"id": 2, "s": 1}, {"id": 1, "s": 1}], "next": 1});
        let new =
            json!({"jobs": [{"id": 4, "s": 1}, {"id": 3, "s": 2}, {"id": 2, "s": 1}], "next": 2});
        assert_eq!(
            patch(&page(&old), &page(&new)).unwrap(),
            json!({"upsert": [{"id": 4, "s": 1}, {"id": 3, "s": 2}], "remove": [1], "order": [4, 3, 2], "next": 2})
        );
        let changed = json!({"jobs": [{"id": 3, "s": 2}, {"id": 1, "s": 1}], "next": 1});
        assert_eq!(
            patch(&page(&old), &page(&changed)).unwrap(),
            json!({"upsert": [{"id": 3, "s": 2}], "remove": [2]})
        );
    }

    #[test]
    fn a_whole_is_sent_as_a_whole() {
        let whole =
            |value: Value| ViewReading::Whole(fields_of(value.to_string().as_bytes()).unwrap().0);
        let old = whole(json!({"jobs": 1, "finished": false}));
        let new = json!({"jobs": 1, "finished": true});
        assert_eq!(patch(&old, &whole(new.clone())), Some(new));
        assert_eq!(patch(&old, &old), None);
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a-z\"]{0,3}".prop_map(Value::from),
        ];
        prop::array::uniform5(value).prop_map(|values| {
            let names = ["counts", "queues", "runners", "rate", "why"];
            Value::Object(names.map(str::to_owned).into_iter().zip(values).collect())
        })
    }

    fn any_page() -> impl Strategy<Value = Value> {
        let rows = prop::collection::btree_map(0..12_i64, 0..3_u8, 0..10);
        (rows, any::<bool>(), 0..3_u8).prop_flat_map(|(rows, complete, next)| {
            let rows: Vec<Value> = rows
                .into_iter()
                .map(|(id, state)| json!({"id": id, "state": state}))
                .collect();
            let rows = Just(rows).prop_shuffle();
            rows.prop_map(move |rows| json!({"jobs": rows, "complete": complete, "next": next}))
        })
    }

    proptest! {
        #[test]
        fn a_patch_turns_the_old_object_into_the_new(old in any_object(), new in any_object()) {
            let mut applied: Map<String, Value> = old.as_object().unwrap().clone();
            if let Some(patch) = patch(&object(&old), &object(&new)) {
                let patch = patch.as_object().unwrap();
                prop_assert!(patch.iter().all(|(name, value)| old[name] != *value));
                applied.extend(patch.clone());
            }
            prop_assert_eq!(Value::from(applied), new);
        }

        #[test]
        fn a_patch_turns_the_old_rows_into_the_new(old in any_page(), new in any_page()) {
            match patch(&page(&old), &page(&new)) {
                Some(patch) => prop_assert_eq!(apply_to_rows(&old, &patch), new),
                None => prop_assert_eq!(old, new),
            }
        }

        #[test]
        fn a_snapshot_is_the_answer(answer in any_page()) {
            let snapshot: Value = serde_json::from_str(&page(&answer).snapshot().unwrap()).unwrap();
            prop_assert_eq!(snapshot, answer);
        }
    }
}
