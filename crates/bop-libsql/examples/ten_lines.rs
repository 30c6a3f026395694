//! From opening a store to a durable commit, and the answer.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = bop_libsql::Store::open("bop-data", bop_libsql::Options::new())?;
    let mut connection = store.connect("accounts")?;
    connection.execute_batch("CREATE TABLE IF NOT EXISTS visits(who TEXT, at TEXT)")?;
    let transaction = connection.transaction()?;
    transaction.execute("INSERT INTO visits VALUES (?1, datetime('now'))", ["Ada"])?;
    transaction.commit()?; // durable from here on
    let visits: i64 = connection.query_row("SELECT count(*) FROM visits", [], |r| r.get(0))?;
    println!("visit number {visits}");
    Ok(())
}
