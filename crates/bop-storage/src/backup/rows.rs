//! The manifest's rows in a file: each as the manifest's store has it, one behind the other.
//!
//! Invariant: what is decoded are rows to be put into an empty store; each value has its own checksum, which
//! is the manifest's.
//!
//! Never: knows what a row means.

use super::format::{
    BACKUP_VERSION, BackupRow, BackupRows, ROWS_MAGIC, check_version, ensure_magic,
};
use super::sink::FileSink;
use crate::error::Reject;
use crate::io::IoFailure;
use crate::log::format::all_zero;
use crate::log::format::bytes::{ensure, index, split, take};
use crate::manifest::{KEY_BYTES_MAX, Table, Write};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

/// Appends rows to a file.
///
/// # Errors
/// The disk's.
pub(crate) fn encode_rows(rows: &[Write], sink: &mut FileSink) -> Result<(), IoFailure> {
    let rows = rows.iter().filter_map(|write| match write {
        Write::Put { table, key, value } => Some((table, key, value)),
        Write::Delete { .. } => None,
    });
    let header = BackupRows {
        magic: ROWS_MAGIC,
        format_version: BACKUP_VERSION.into(),
        reserved: U32::ZERO,
        rows: (rows.clone().count() as u64).into(),
    };
    sink.append(header.as_bytes())?;
    for (table, key, value) in rows {
        let row = BackupRow {
            table: table.number(),
            // Both are checked by whoever makes a row: 64 bytes, and far below 4 GiB.
            key_bytes: u8::try_from(key.len()).unwrap_or(u8::MAX),
            reserved: U16::ZERO,
            value_bytes: u32::try_from(value.len()).unwrap_or(u32::MAX).into(),
        };
        sink.append(row.as_bytes())?;
        sink.append(key)?;
        sink.append(value)?;
    }
    Ok(())
}

/// The rows in a file.
///
/// # Errors
/// Why they are none.
pub(crate) fn decode_rows(file: &[u8]) -> Result<Vec<Write>, Reject> {
    let (header, mut rest) = split::<BackupRows>(file)?;
    ensure_magic(header.magic == ROWS_MAGIC)?;
    check_version(header.format_version.get())?;
    ensure(header.reserved.get() == 0, "reserved bytes of rows")?;
    let mut rows = Vec::new();
    for _ in 0..header.rows.get() {
        let (row, behind) = split::<BackupRow>(rest)?;
        ensure(row.reserved.get() == 0, "reserved bytes of a row")?;
        let number = row.table;
        let table = Table::ALL.into_iter().find(|one| one.number() == number);
        let table = table.ok_or(Reject::Invalid("table of a row"))?;
        let key_bytes = usize::from(row.key_bytes);
        ensure((1..=KEY_BYTES_MAX).contains(&key_bytes), "key of a row")?;
        let (key, behind) = take(behind, key_bytes)?;
        let (value, behind) = take(behind, index(row.value_bytes.get().into())?)?;
        rows.push(Write::Put {
            table,
            key: key.to_vec(),
            value: value.to_vec(),
        });
        rest = behind;
    }
    ensure(all_zero(rest), "bytes behind rows")?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{BLOCK_BYTES, Disk, OpenMode};
    use crate::testing::SimDisk;
    use std::path::Path;
    use std::sync::Arc;

    fn file_of(rows: &[Write]) -> Vec<u8> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        disk.create_dir(Path::new("scratch")).unwrap();
        let mut sink = FileSink::begin(&disk).unwrap();
        encode_rows(rows, &mut sink).unwrap();
        let proof = sink.finish(Path::new("rows"), None).unwrap();
        let file = disk.open(Path::new("rows"), OpenMode::Read).unwrap();
        assert_eq!(file.bytes().unwrap(), proof.bytes);
        let blocks = usize::try_from(proof.bytes).unwrap() / BLOCK_BYTES;
        let mut content = crate::io::zeroed_blocks(blocks);
        file.read_at(0, &mut content).unwrap();
        content.as_bytes().to_vec()
    }

    #[test]
    fn rows_come_back() {
        let row = |table, key: &[u8], value: usize| Write::Put {
            table,
            key: key.to_vec(),
            value: vec![7; value],
        };
        let many: Vec<Write> = (0..3000_u16)
            .map(|n| row(Table::Ranges, &n.to_be_bytes(), usize::from(n) % 300))
            .collect();
        let few = vec![
            row(Table::Meta, &[0], 0),
            row(Table::Generations, &[1; 64], 9),
        ];
        for rows in [many, few, Vec::new()] {
            assert_eq!(decode_rows(&file_of(&rows)), Ok(rows));
        }
    }

    #[test]
    fn what_is_cut_or_of_no_table_is_refused() {
        let row = Write::Put {
            table: Table::Chunks,
            key: vec![1; 8],
            value: vec![2; 32],
        };
        let file = file_of(&[row]);
        let header = size_of::<BackupRows>();
        for length in 0..header + size_of::<BackupRow>() + 40 {
            assert!(decode_rows(&file[..length]).is_err(), "{length} bytes");
        }
        for (at, byte) in [(0, 0), (8, 9), (header, 99), (header + 1, 0), (4095, 1)] {
            let mut spoiled = file.clone();
            spoiled[at] = byte;
            assert!(decode_rows(&spoiled).is_err(), "byte {at} is {byte}");
        }
    }
}
