//! Where the bytes are: what `bop space` and `bop log why` say is what was done.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;

fn filled() -> Store {
    let store = Store::new();
    for name in ["small", "large"] {
        store.ok(&["sql", name, "create table t(x)"]);
    }
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) \
                insert into t select hex(randomblob(400)) from n";
    store.ok(&["sql", "large", many]);
    store
}

#[test]
fn space_tells_the_databases_apart_and_adds_up() {
    let store = filled();
    store.ok(&["checkpoint"]);
    let found = store.json(&["space"]);
    let databases = found["databases"].as_array().unwrap();
    let bytes = |name: &str| {
        let one = databases.iter().find(|one| one["name"] == name).unwrap();
        one["newest_bytes"].as_u64().unwrap()
    };
    assert!(bytes("large") > 20 * bytes("small"), "{found}");
    assert!(bytes("small") > 0, "{found}");
    let total = |what: &str| found[what].as_u64().unwrap();
    assert_eq!(
        total("chunk_bytes"),
        total("live_bytes") + total("dead_bytes")
    );
    assert!(total("live_bytes") >= bytes("large") + bytes("small") + total("catalogue_bytes"));
    assert!(
        total("manifest_bytes") > 0 && total("log_bytes") > 0 && total("reserve_bytes") > 0,
        "{found}"
    );

    let one = store.json(&["space", "SMALL"]);
    assert_eq!(one["databases"].as_array().unwrap().len(), 1);
    assert_eq!(one["databases"][0]["name"], "small");
    assert_eq!(one["chunk_bytes"], found["chunk_bytes"]);
    let text = store.ok(&["space"]);
    assert!(
        text.contains("large") && text.contains("not read"),
        "{text}"
    );
    let refused = store.fails(1, &["space", "nobody"]);
    assert!(refused.contains("nobody"), "{refused}");
}

#[test]
fn what_needs_the_log_is_told_until_a_checkpoint_has_it() {
    let store = filled();
    let found = store.json(&["log", "why"]);
    let needs = found["needs"].as_array().unwrap();
    let names: Vec<_> = needs
        .iter()
        .filter_map(|need| need["name"].as_str())
        .collect();
    assert!(
        names.contains(&"large") && names.contains(&"small"),
        "{found}"
    );
    let from = |need: &serde_json::Value| need["from"].as_u64().unwrap();
    assert!(needs.is_sorted_by_key(from), "{found}");
    assert!(needs.iter().all(|need| need["until_checkpoint"] == true));
    assert!(needs[0]["bytes"].as_u64() <= found["log_bytes"].as_u64());

    store.ok(&["commits", "tail", "--cursor", "replica"]);
    store.ok(&["sql", "small", "insert into t values (1)"]);
    store.ok(&["checkpoint"]);
    let found = store.json(&["log", "why"]);
    let needs = found["needs"].as_array().unwrap();
    assert_eq!(needs.len(), 1, "{found}");
    assert_eq!(needs[0]["reason"], "cursor");
    assert_eq!(needs[0]["name"], "replica");
    assert_eq!(needs[0]["until_checkpoint"], false);
    let text = store.ok(&["log", "why"]);
    assert!(
        text.contains("replica") && text.contains("a checkpoint releases"),
        "{text}"
    );
}

#[test]
fn checkpoints_compress_as_the_option_or_the_environment_says() {
    let rows = "create table t(x); with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) \
                insert into t select 'order ' || i || ' of tea, bread and milk, ' || hex(i * 7919) from n";
    let chunk_bytes = |options: &[&str], set: Option<&str>| {
        let store = Store::new();
        for command in [&["sql", "d", rows][..], &["checkpoint"]] {
            let arguments = [options, command].concat();
            let mut command = store.command(&arguments);
            if let Some(set) = set {
                command.env("BOP_COMPRESSION", set);
            }
            assert!(command.output().unwrap().status.success());
        }
        assert_eq!(store.json(&["verify"])["healthy"], true);
        store.json(&["space"])["chunk_bytes"].as_u64().unwrap()
    };
    let off = chunk_bytes(&["--compression", "off"], None);
    let lz4 = chunk_bytes(&[], None);
    let zstd = chunk_bytes(&[], Some("zstd:9"));
    assert!(zstd < lz4 && lz4 < off, "{zstd} {lz4} {off}");
    // The option counts before the variable, and an empty one is as good as none.
    assert_eq!(chunk_bytes(&["--compression", "off"], Some("zstd")), off);
    assert_eq!(chunk_bytes(&[], Some("")), lz4);

    let store = Store::new();
    let mut command = store.command(&["list"]);
    let refused = command.env("BOP_COMPRESSION", "gzip").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.contains("BOP_COMPRESSION") && refused.contains("zstd:1 to zstd:19"),
        "{refused}"
    );
}
