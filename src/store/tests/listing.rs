//! Listings by tenant, tag and parent: what they find, and what they read for it.

use rusqlite::params_from_iter;

use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::state::State;
use crate::store::read::jobs;
use crate::store::tests::sandbox::Sandbox;

/// Ten jobs: the even ones of tenant `a`, from the sixth on tagged `env=prod`, the last three
/// children of the first. The tenth is tagged `size=big` too, the ninth `env=test` instead.
fn scene() -> Sandbox {
    let mut sandbox = Sandbox::new();
    for _ in 0..10 {
        sandbox.enqueue(NewJob::new("send").queue("mail"));
    }
    sandbox.sql(
        "UPDATE jobq_job SET tenant = 'a' WHERE id % 2 = 0;
         UPDATE jobq_job SET parent_id = 1 WHERE id >= 8;
         INSERT INTO jobq_tag (name, value, job_id)
         SELECT 'env', CASE id WHEN 9 THEN 'test' ELSE 'prod' END, id FROM jobq_job WHERE id >= 6;
         INSERT INTO jobq_tag (name, value, job_id) VALUES ('size', 'big', 10), ('size', 'big', 1);
         UPDATE jobq_job SET links = links | 64 WHERE id IN (SELECT job_id FROM jobq_tag);",
    );
    sandbox
}

fn tag(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn found(sandbox: &Sandbox, filter: &Filter) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut each = |job: crate::JobRecord| {
        ids.push(job.id.0);
        Ok(())
    };
    jobs::list(&sandbox.conn, filter, &mut each).unwrap();
    ids
}

#[test]
fn jobs_are_found_by_tenant_by_all_of_the_tags_and_by_parent() {
    let sandbox = scene();
    let found = |filter: Filter| found(&sandbox, &filter);
    let tenant = Some("a".to_owned());
    let of_tenant = Filter {
        tenant: tenant.clone(),
        ..Filter::default()
    };
    assert_eq!(found(of_tenant), [10, 8, 6, 4, 2]);
    let tagged = |tags: &[(String, String)]| Filter {
        tags: tags.to_vec(),
        ..Filter::default()
    };
    let prod = tag("env", "prod");
    assert_eq!(found(tagged(std::slice::from_ref(&prod))), [10, 8, 7, 6]);
    assert_eq!(found(tagged(&[prod.clone(), tag("size", "big")])), [10]);
    assert_eq!(found(tagged(&[prod.clone(), tag("env", "test")])), [0; 0]);
    let children = Filter {
        parent: Some(JobId(1)),
        ..Filter::default()
    };
    assert_eq!(found(children.clone()), [10, 9, 8]);
    let all = Filter {
        tenant,
        tags: vec![prod],
        states: vec![State::Pending],
        sort: Sort::Oldest,
        ..children
    };
    assert_eq!(found(all), [8, 10]);
}

#[test]
fn listings_by_a_tag_are_paged_in_both_directions() {
    let sandbox = scene();
    for (sort, pages) in [
        (Sort::Newest, [vec![10, 8], vec![7, 6]]),
        (Sort::Oldest, [vec![6, 7], vec![8, 10]]),
    ] {
        let mut filter = Filter {
            tags: vec![tag("env", "prod")],
            sort,
            limit: Some(2),
            ..Filter::default()
        };
        for page in pages {
            assert_eq!(found(&sandbox, &filter), page);
            filter.after = page.last().map(|id| JobId(*id));
        }
        assert_eq!(found(&sandbox, &filter), [0; 0]);
    }
}

fn plan(sandbox: &Sandbox, filter: &Filter) -> Vec<String> {
    let (sql, values) = jobs::compose(filter);
    let mut statement = sandbox
        .conn
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let lines = statement.query_map(params_from_iter(values), |row| row.get("detail"));
    lines.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Each with the line of the plan that leads to its jobs.
fn narrow() -> [(Filter, &'static str); 3] {
    let tags = vec![tag("env", "prod"), tag("size", "big")];
    let by_tag = Filter {
        tags: tags.clone(),
        ..Filter::default()
    };
    let by_tenant = Filter {
        tenant: Some("a".to_owned()),
        ..Filter::default()
    };
    let by_parent = Filter {
        tags,
        parent: Some(JobId(1)),
        ..by_tenant.clone()
    };
    [
        (by_tag, "SEARCH l USING PRIMARY KEY (name=? AND value=?"),
        (by_tenant, "SEARCH j USING INDEX jobq_job_tenant (tenant=?"),
        (
            by_parent,
            "SEARCH j USING INDEX jobq_job_children (parent_id=?",
        ),
    ]
}

#[test]
fn a_narrow_listing_reads_only_its_own_jobs_and_sorts_nothing() {
    let sandbox = scene();
    for (filter, way) in narrow() {
        for sort in [Sort::Newest, Sort::Oldest] {
            for after in [None, Some(JobId(5))] {
                let alone = Filter {
                    sort,
                    after,
                    ..filter.clone()
                };
                let with_more = Filter {
                    states: vec![State::Pending, State::Running],
                    queues: vec!["mail".to_owned(), "images".to_owned()],
                    kinds: vec!["send".to_owned()],
                    since: Some(jiff::Timestamp::UNIX_EPOCH),
                    ..alone.clone()
                };
                for filter in [alone, with_more] {
                    let plan = plan(&sandbox, &filter);
                    assert!(plan.iter().any(|line| line.starts_with(way)), "{plan:#?}");
                    let bad = |line: &&String| {
                        line.starts_with("SCAN j") || line.contains("B-TREE FOR ORDER BY")
                    };
                    assert_eq!(plan.iter().find(bad), None, "{filter:?}: {plan:#?}");
                }
            }
        }
    }
}
