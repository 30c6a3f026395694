// better-sqlite3 is compiled without URI names: the VFS is the default one, and names find the store by
// $BOP_STORE, or by the directory in front of them.
'use strict';
const assert = require('node:assert');
const path = require('node:path');
const Database = require(path.join(process.env.BOP_NODE_MODULES, 'better-sqlite3'));

const loader = new Database(':memory:');
loader.loadExtension(process.env.BOP_EXTENSION);

const first = new Database('app');
first.pragma('journal_mode = WAL');
assert.equal(first.pragma('journal_mode', { simple: true }), 'delete');
first.exec('CREATE TABLE t(a INTEGER PRIMARY KEY, b)');
const insert = first.prepare('INSERT INTO t(b) VALUES (?)');
const many = first.transaction((count) => {
  for (let n = 0; n < count; n++) insert.run('x'.repeat(n % 300));
});
many(500);
assert.throws(() => first.transaction(() => { insert.run(1); throw new Error('no'); })());

const second = new Database(path.join(process.env.BOP_STORE, 'app'));
assert.equal(second.prepare('SELECT count(*) AS n FROM t').get().n, 500);
assert.equal(second.prepare('SELECT count(*) FROM t WHERE b = ?').pluck().get('x'.repeat(7)), 2);
first.exec('BEGIN IMMEDIATE');
insert.run('seen later');
second.pragma('busy_timeout = 0');
assert.throws(() => second.exec('DELETE FROM t'), { code: 'SQLITE_BUSY' });
first.exec('COMMIT');
assert.equal(second.prepare('SELECT count(*) FROM t').pluck().get(), 501);
assert.equal(first.pragma('bop_snapshot = before', { simple: true }), 'app@snapshot:before');
second.exec('DELETE FROM t');
const past = new Database('app@snapshot:before');
assert.equal(past.prepare('SELECT count(*) FROM t').pluck().get(), 501);
assert.throws(() => past.exec('DELETE FROM t'), { code: 'SQLITE_READONLY' });
assert.deepEqual(second.pragma('integrity_check'), [{ integrity_check: 'ok' }]);

const file = new Database(path.join(process.env.BOP_TEST_FILES, 'plain.db'));
file.exec('CREATE TABLE p(x)');
assert.ok(require('node:fs').statSync(file.name).size > 0);
for (const db of [past, second, first, file, loader]) db.close();
console.log('done');
