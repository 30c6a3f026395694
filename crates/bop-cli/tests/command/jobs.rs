//! Jobs from outside: scrubs that find nothing, and one that finds a flipped byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use std::fs;

fn filled() -> Store {
    let store = Store::new();
    for name in ["orders", "quiet"] {
        let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) \
                    insert into t select hex(randomblob(40)) from n";
        store.ok(&["sql", name, &format!("create table t(a); {rows}")]);
        // Each in a chunk of its own.
        store.ok(&["checkpoint"]);
    }
    store
}

#[test]
fn a_scrub_reads_what_is_in_chunks_and_is_remembered() {
    let store = filled();
    assert_eq!(store.ok(&["jobs"]), "no jobs\n");
    assert_eq!(
        store.json(&["info", "orders"])["last_scrub"],
        serde_json::Value::Null
    );
    assert!(store.ok(&["info", "orders"]).contains("scrubbed  never"));
    let text = store.ok(&["scrub", "orders"]);
    assert_eq!(text, "scrubbed \"orders\": no damage\n");
    let all = store.json(&["scrub"]);
    assert_eq!(all["state"], "done");
    assert_eq!(all["database"], serde_json::Value::Null);
    let jobs = store.json(&["jobs"]);
    assert_eq!(jobs.as_array().unwrap().len(), 2);
    assert_eq!(jobs[0]["database"], "orders");
    assert_eq!(jobs[0]["kind"], "scrub");
    assert_eq!(
        (&jobs[1]["state"], &jobs[1]["attempts"]),
        (&"done".into(), &1.into())
    );
    let last = &store.json(&["info", "orders"])["last_scrub"];
    assert_eq!(last["job"], 2);
    assert!(last["pages"].as_u64().unwrap() > 10);
    assert!(last["bytes"].as_u64().unwrap() > 10 * 4096);
    let text = store.ok(&["info", "orders"]);
    let pages = format!("Z, {} pages", last["pages"]);
    assert!(text.contains(&pages), "{text}");
    let table = store.ok(&["jobs"]);
    assert!(
        table.contains("all databases") && table.contains("done"),
        "{table}"
    );
}

#[test]
fn a_flipped_byte_is_an_error_with_its_place_and_exit_status_3() {
    let store = filled();
    let mut chunks: Vec<_> = fs::read_dir(store.store().join("chunks"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    chunks.sort();
    let mut bytes = fs::read(&chunks[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&chunks[0], bytes).unwrap();
    let chunk = chunks[0].file_stem().unwrap().to_str().unwrap().to_owned();
    let chunk = u64::from_str_radix(&chunk, 16).unwrap();

    let told = store.fails(3, &["scrub", "orders"]);
    let place = format!("chunk {chunk} at byte ");
    assert!(
        told.contains("the scrub of \"orders\" failed") && told.contains(&place),
        "{told}"
    );
    assert!(told.contains("hint: bop verify"), "{told}");
    let told = store.fails(3, &["--json", "scrub"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["code"], "corrupt");
    store.ok(&["scrub", "quiet"]);
    let jobs = store.json(&["jobs"]);
    assert_eq!(
        (&jobs[0]["state"], &jobs[0]["attempts"]),
        (&"failed".into(), &1.into())
    );
    assert_eq!(jobs[0]["error"]["code"], "corrupt");
    assert!(
        jobs[0]["error"]["place"]
            .as_str()
            .unwrap()
            .starts_with(&place)
    );
    assert_eq!(jobs[0]["error"]["reason"], "checksum mismatch");
    assert!(store.ok(&["jobs"]).contains("corrupt: chunk"));
}

#[test]
fn a_job_that_waits_is_cancelled() {
    let store = filled();
    let id = {
        let options = bop_storage::Options::new();
        let options = options.housekeeping(bop_storage::Housekeeping::Manual);
        let manager = bop_storage::Manager::open(store.store(), options).unwrap();
        manager.scrub(Some("orders")).unwrap().to_string()
    };
    let told = store.ok(&["jobs", "--cancel", &id]);
    // A command has a housekeeper, who may have done it by then.
    let over = format!("job {id} was over\n");
    assert!(
        told == format!("cancelled job {id}\n") || told == over,
        "{told}"
    );
    assert_eq!(store.ok(&["jobs", "--cancel", &id]), over);
    let told = store.fails(1, &["--json", "jobs", "--cancel", "77"]);
    assert!(told.contains("job_not_found"), "{told}");
    store.fails(2, &["jobs", "--cancel", "seven"]);
}

#[test]
fn what_cannot_be_scrubbed_is_refused() {
    let store = filled();
    let told = store.fails(1, &["scrub", "order"]);
    assert!(told.contains("did you mean \"orders\"?"), "{told}");
    assert_eq!(store.ok(&["jobs"]), "no jobs\n");
    let none = Store::new();
    for arguments in [&["jobs"][..], &["scrub"]] {
        let told = none.fails(1, &[&["--json"], arguments].concat());
        assert!(told.contains("store_not_found"), "{told}");
    }
}
