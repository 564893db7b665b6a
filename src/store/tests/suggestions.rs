//! Names to complete what is typed.

use crate::model::job::NewJob;
use crate::model::suggestion::NameField;
use crate::store::read::suggestions::names;
use crate::store::tests::sandbox::Sandbox;

fn scene() -> Sandbox {
    let mut sandbox = Sandbox::new();
    for at in 0..60 {
        let kind = ["send", "resize", "rename", "Report"][at % 4];
        let job = NewJob::new(kind)
            .queue(["mail", "images"][at % 2])
            .tenant(format!("tenant {}", at % 7))
            .tag("env", ["prod", "preview", "test"][at % 3])
            .tag("été", format!("v{at}"));
        sandbox.enqueue(job);
    }
    sandbox.sql("UPDATE jobq_job SET schedule = 'gone' || (id % 2) WHERE id < 30");
    sandbox
}

#[test]
fn names_begin_with_what_was_typed_and_are_in_order() {
    let sandbox = scene();
    let found = |field: NameField, prefix: &str| names(&sandbox.conn, (&field, prefix), 3).unwrap();
    assert_eq!(found(NameField::Kind, "re"), ["rename", "resize"]);
    assert_eq!(found(NameField::Kind, ""), ["Report", "rename", "resize"]);
    assert_eq!(found(NameField::Queue, "m"), ["mail"]);
    let first = ["tenant 0", "tenant 1", "tenant 2"];
    assert_eq!(found(NameField::Tenant, "ten"), first);
    assert_eq!(found(NameField::Tenant, "tenant 6"), ["tenant 6"]);
    assert_eq!(found(NameField::TagName, ""), ["env", "été"]);
    assert_eq!(found(NameField::TagName, "é"), ["été"]);
    let env = || NameField::TagValue("env".to_owned());
    assert_eq!(found(env(), "pr"), ["preview", "prod"]);
    let versions = NameField::TagValue("été".to_owned());
    assert_eq!(found(versions, "v1"), ["v1", "v10", "v11"]);
    assert_eq!(found(NameField::Schedule, ""), ["gone0", "gone1"]);
    for field in [NameField::Kind, NameField::Tenant, env()] {
        assert_eq!(found(field, "zz"), [""; 0]);
    }
}

#[test]
fn no_names_are_wanted_and_none_are_there() {
    let sandbox = scene();
    for field in [NameField::Kind, NameField::Tenant, NameField::Schedule] {
        let none = names(&sandbox.conn, (&field, ""), 0).unwrap();
        assert_eq!(none, [""; 0]);
    }
    let empty = Sandbox::new();
    let none = names(&empty.conn, (&NameField::Tenant, ""), 9).unwrap();
    assert_eq!(none, [""; 0]);
}
