//! Pieces of 2 MiB, each of which the kernel may map as one huge page, divided into slots of one size.
//!
//! Whoever selects rows by random keys, or scans a table, looks at a page of 4 KiB here and one there: with
//! memory in pages of the same size, the processor looks up each in a table of the kernel's, and of a virtual
//! machine's host's. A quarter of the time of such a select was that. An entry for 2 MiB stays at hand.
//!
//! ```text
//! mapped --take--> some slots in use --take--> full
//!    |   <--give--                   <--give--
//!    '--another one is empty, too--> given back to the kernel
//! ```
//! Invariants
//! - a slot is handed out to one at a time, and lies inside its slab;
//! - slots of the slab with the lowest address are taken first, so that those at the other end become empty;
//! - at most one slab without a slot in use is kept.
//!
//! Never: touches the memory, which the kernel gives page by page when it is written to.

use memmap2::{Advice, MmapMut, MmapRaw};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

/// A huge page of the processors that there are; where it is larger, the kernel does without.
pub(super) const SLAB_BYTES: usize = 2 << 20;

/// Slabs with slots of one size.
#[derive(Debug)]
pub(super) struct Slabs {
    slot_bytes: usize,
    /// By the address of the first slot.
    slabs: BTreeMap<usize, Slab>,
    /// Those that have a free slot.
    with_room: BTreeSet<usize>,
    /// One that has no other, if there is one.
    empty: Option<usize>,
}

#[derive(Debug)]
struct Slab {
    memory: Memory,
    /// Where the slots begin that were not taken yet.
    fresh: usize,
    /// Where those begin that were given back; the last is taken first.
    free: Vec<u32>,
}

/// The memory of a slab. Unmapped when it is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    mapped: MmapRaw,
    /// Where the aligned part begins.
    start: usize,
}

/// What became of a slot.
#[derive(Debug)]
pub(super) enum Given {
    /// It is free. If its slab is not needed any more, here is that.
    Back(Option<Memory>),
    /// It is none of these.
    Foreign,
}

impl Memory {
    /// Maps memory that begins where a huge page does.
    fn map() -> Option<Self> {
        // Since version 6.7 the kernel sees by itself to where a piece of such a size had best begin.
        let exact = Self::of(MmapMut::map_anon(SLAB_BYTES).ok()?);
        let memory = match exact.start {
            0 => exact,
            _ => Self::of(MmapMut::map_anon(2 * SLAB_BYTES).ok()?),
        };
        // Where the kernel has no huge pages it is memory all the same.
        drop(
            memory
                .mapped
                .advise_range(Advice::HugePage, memory.start, SLAB_BYTES),
        );
        Some(memory)
    }

    fn of(mapped: MmapMut) -> Self {
        let start = mapped.as_ptr().align_offset(SLAB_BYTES);
        let mapped = MmapRaw::from(mapped);
        Self { mapped, start }
    }

    fn at(&self, offset: usize) -> Option<NonNull<u8>> {
        let first = self.mapped.as_mut_ptr().wrapping_add(self.start);
        NonNull::new(first.wrapping_add(offset))
    }
}

impl Slabs {
    pub(super) const fn new(slot_bytes: usize) -> Self {
        Self {
            slot_bytes,
            slabs: BTreeMap::new(),
            with_room: BTreeSet::new(),
            empty: None,
        }
    }

    /// A slot; `None` when the kernel has no memory.
    pub(super) fn take(&mut self) -> Option<NonNull<u8>> {
        let base = match self.with_room.first() {
            Some(base) => *base,
            None => self.map()?,
        };
        if self.empty == Some(base) {
            self.empty = None;
        }
        let slab = self.slabs.get_mut(&base)?;
        let offset = slab.free.pop().map_or(slab.fresh, |offset| offset as usize);
        if offset == slab.fresh {
            slab.fresh += self.slot_bytes;
        }
        if slab.free.is_empty() && SLAB_BYTES < slab.fresh + self.slot_bytes {
            self.with_room.remove(&base);
        }
        slab.memory.at(offset)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.slabs.len()
    }

    fn map(&mut self) -> Option<usize> {
        let memory = Memory::map()?;
        let base = memory.at(0)?.addr().get();
        let slab = Slab {
            memory,
            fresh: 0,
            free: Vec::new(),
        };
        self.slabs.insert(base, slab);
        self.with_room.insert(base);
        Some(base)
    }

    /// Takes a slot back, if it is one of these.
    pub(super) fn give(&mut self, slot: NonNull<u8>) -> Given {
        let address = slot.addr().get();
        let offset = address % SLAB_BYTES;
        let base = address - offset;
        let Some(slab) = self.slabs.get_mut(&base) else {
            return Given::Foreign;
        };
        // Less than 2 MiB.
        slab.free.push(offset as u32);
        self.with_room.insert(base);
        if slab.free.len() * self.slot_bytes < slab.fresh {
            return Given::Back(None);
        }
        slab.fresh = 0;
        slab.free.clear();
        let Some(other) = self.empty.replace(base) else {
            return Given::Back(None);
        };
        self.empty = Some(base.min(other));
        let gone = base.max(other);
        self.with_room.remove(&gone);
        Given::Back(self.slabs.remove(&gone).map(|slab| slab.memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SLOT_BYTES: usize = 64 << 10;

    fn taken(slabs: &mut Slabs) -> NonNull<u8> {
        slabs.take().unwrap()
    }

    fn is_gone(given: Given) -> bool {
        matches!(given, Given::Back(Some(_)))
    }

    #[test]
    fn a_full_slab_is_followed_by_another_and_the_one_not_needed_goes() {
        let mut slabs = Slabs::new(SLOT_BYTES);
        let slots: Vec<_> = (0..64).map(|_| taken(&mut slabs)).collect();
        assert_eq!((slabs.slabs.len(), slabs.with_room.len()), (2, 0));
        let gone = slots.iter().filter(|slot| is_gone(slabs.give(**slot)));
        assert_eq!(gone.count(), 1, "the second one that became empty");
        assert_eq!((slabs.slabs.len(), slabs.with_room.len()), (1, 1));
        let lowest = slots.iter().min_by_key(|slot| slot.addr());
        assert_eq!(
            Some(&taken(&mut slabs)),
            lowest,
            "that at the lower address stayed"
        );
        assert!(matches!(slabs.give(NonNull::dangling()), Given::Foreign));
    }

    #[test]
    fn the_slab_at_the_lowest_address_is_filled_first() {
        let mut slabs = Slabs::new(SLOT_BYTES);
        let mut slots: Vec<_> = (0..3 * 32).map(|_| taken(&mut slabs)).collect();
        slots.sort_unstable_by_key(|slot| slot.addr());
        for given in [70, 40, 5] {
            slabs.give(slots[given]);
        }
        for expected in [5, 40, 70] {
            assert_eq!(taken(&mut slabs), slots[expected]);
        }
    }

    #[test]
    fn what_remains_of_a_slab_behind_its_last_slot_is_not_handed_out() {
        let mut slabs = Slabs::new(4352);
        let slots: Vec<_> = (0..482).map(|_| taken(&mut slabs).addr().get()).collect();
        assert_eq!(slabs.slabs.len(), 2, "481 to each");
        for slot in slots {
            assert!(slot % SLAB_BYTES + 4352 <= SLAB_BYTES);
        }
    }

    proptest! {
        /// Slots that are in use never overlap, whatever was taken and given back before.
        #[test]
        fn nothing_is_handed_out_twice(steps in proptest::collection::vec(any::<(u8, u8)>(), 1..400)) {
            let mut slabs = Slabs::new(100_000);
            let mut in_use: BTreeMap<usize, NonNull<u8>> = BTreeMap::new();
            for (what, which) in steps {
                if what % 5 < 3 || in_use.is_empty() {
                    let slot = taken(&mut slabs);
                    let address = slot.addr().get();
                    let before = in_use.range(..=address).next_back();
                    let behind = in_use.range(address..).next();
                    prop_assert!(before.is_none_or(|(other, _)| other + 100_000 <= address));
                    prop_assert!(behind.is_none_or(|(other, _)| address + 100_000 <= *other));
                    in_use.insert(address, slot);
                } else {
                    let nth = usize::from(which) % in_use.len();
                    let address = *in_use.keys().nth(nth).unwrap();
                    let slot = in_use.remove(&address).unwrap();
                    prop_assert!(matches!(slabs.give(slot), Given::Back(_)));
                }
                let bases: BTreeSet<_> = in_use.keys().map(|at| at - at % SLAB_BYTES).collect();
                prop_assert!(slabs.slabs.len() <= bases.len() + 1, "one empty slab at most");
            }
        }
    }
}
