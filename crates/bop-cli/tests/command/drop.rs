//! Databases that are dropped, brought back and given up by the ids that the list shows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;

/// Whoever mistypes the id, or the name, is told, and nothing is given up.
#[test]
fn an_id_of_another_name_is_refused() {
    let store = Store::new();
    for name in ["orders", "old"] {
        store.ok(&["sql", name, "create table t(a)"]);
        store.ok(&["drop", name, "--yes"]);
    }
    let dropped = store.json(&["list", "--dropped"]);
    let of = |name: &str| {
        let mut all = dropped.as_array().unwrap().iter();
        all.find(|one| one["name"] == name).unwrap()["id"].to_string()
    };
    let orders = of("orders");
    for command in [
        &["purge", "old", "--id", &orders, "--yes"][..],
        &["undrop", "old", "--id", &orders],
        &["undrop", "old", "--id", &orders, "--as", "new"],
    ] {
        let refused = store.fails(1, command);
        let said = format!("the dropped database with id {orders} is \"orders\", not \"old\"");
        assert!(refused.contains(&said), "{refused}");
        assert!(refused.contains("hint: bop list --dropped"), "{refused}");
    }
    assert_eq!(store.json(&["list", "--dropped"]), dropped);
    // In any case of the letters, as everywhere.
    store.ok(&["undrop", "ORDERS", "--id", &orders]);
    store.ok(&["purge", "old", "--id", &of("old"), "--yes"]);
    let unknown = store.fails(1, &["undrop", "old", "--id", "99"]);
    assert!(unknown.contains("id 99"), "{unknown}");
}
