//! Where the memory of buffers comes from: of few the allocator, of many slabs.
//!
//! ```text
//! a size that is kept, and more than 4 MiB of it are in use --> a slot of a slab
//! any other, or the kernel maps no more ----------------------> the allocator
//! ```
//! Invariants
//! - memory is given back to where it came from, which its address tells;
//! - a program that never had many buffers has no slab.
//!
//! Never: lets buffers of one size wait for those of another.

use super::slabs::{Given, Slabs};
use super::{SIZES, SIZES_LOG2, capacity_of, nth_size};
use allocator_api2::alloc::{AllocError, Allocator, Global, Layout};
use allocator_api2::vec::Vec;
use parking_lot::Mutex;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What of a size has to be in use before there are slabs of it: two of them.
const SLABS_FROM_BYTES: usize = 4 << 20;

/// How far a heap grows at a time: what glibc still takes from the heap, and does not map by itself.
const HEAP_STEP_BYTES: usize = 120 << 10;

static CLASSES: [Class; SIZES] = {
    let [first, _] = SIZES_LOG2;
    [
        Class::new(first),
        Class::new(first + 1),
        Class::new(first + 2),
        Class::new(first + 3),
        Class::new(first + 4),
        Class::new(first + 5),
        Class::new(first + 6),
        Class::new(first + 7),
    ]
};

/// All memory of one size.
struct Class {
    /// Pieces of memory that somebody has, the allocator's too.
    in_use: AtomicUsize,
    slabs: Mutex<Slabs>,
}

impl Class {
    const fn new(bytes_log2: u32) -> Self {
        Self {
            in_use: AtomicUsize::new(0),
            slabs: Mutex::new(Slabs::new(capacity_of(bytes_log2))),
        }
    }

    /// That of pieces which are just so long, and bytes.
    fn of(layout: Layout) -> Option<&'static Self> {
        let nth = nth_size(layout.size()).filter(|_| layout.align() == 1)?;
        CLASSES.get(nth)
    }
}

/// How many pieces of memory of just so many bytes somebody has.
pub(super) fn in_use(bytes: usize) -> usize {
    let class = nth_size(bytes).and_then(|nth| CLASSES.get(nth));
    class.map_or(0, |class| class.in_use.load(Ordering::Relaxed))
}

/// How many slabs there are of pieces of just so many bytes.
#[cfg(test)]
pub(super) fn slabs(bytes: usize) -> usize {
    let class = nth_size(bytes).and_then(|nth| CLASSES.get(nth));
    class.map_or(0, |class| class.slabs.lock().count())
}

/// Gives vectors of bytes their memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct BufferMemory;

#[expect(
    unsafe_code,
    reason = "memory that the kernel maps is handed out in pieces"
)]
// SAFETY: a piece of memory is `Global`'s, or a slot of a slab, which is as long as was asked for, aligned for
// bytes, nobody else's until it is given back, and mapped as long as one of its slots is in use. All values of
// this type are the same: each gives back what another gave.
unsafe impl Allocator for BufferMemory {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let bytes = layout.size();
        if let Some(class) = Class::of(layout) {
            let before = class.in_use.fetch_add(1, Ordering::Relaxed);
            let is_many = SLABS_FROM_BYTES / bytes <= before;
            if is_many && let Some(slot) = class.slabs.lock().take() {
                return Ok(NonNull::slice_from_raw_parts(slot, bytes));
            }
            grow_the_heap_at_times(bytes);
        }
        Global.allocate(layout)
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        if let Some(class) = Class::of(layout) {
            class.in_use.fetch_sub(1, Ordering::Relaxed);
            let given = class.slabs.lock().give(memory);
            // A slab that is not needed any more is unmapped here, while nobody waits for the lock.
            if let Given::Back(_unneeded) = given {
                return;
            }
        }
        // SAFETY: whoever gives it back got it from here, with this layout, and it is no slot of a slab.
        unsafe { Global.deallocate(memory, layout) }
    }
}

/// Bytes in memory of their own.
pub(super) type Bytes = Vec<u8, BufferMemory>;

/// Appends a copy of `more`: the vector's own way takes it byte by byte.
pub(super) fn append(bytes: &mut Bytes, more: &[u8]) {
    bytes.reserve(more.len());
    bytes.spare_capacity_mut()[..more.len()].write_copy_of_slice(more);
    // SAFETY: there was room for so many, and they were written.
    #[expect(unsafe_code, reason = "the vector has no quick way of its own")]
    unsafe {
        bytes.set_len(bytes.len() + more.len());
    }
}

/// Lets the allocator have room for the next few buffers at once, when it is their turn.
///
/// The heaps that glibc gives to threads grow by what is asked for and no more, by a call of the kernel each
/// time: a thread that fills the page cache made one for every page, which was half of its time. A large piece
/// that is taken and given back leaves a heap that has grown. Any other allocator hardly notices.
fn grow_the_heap_at_times(buffer_bytes: usize) {
    thread_local! {
        /// Bytes that were taken since.
        static TAKEN: Cell<usize> = const { Cell::new(HEAP_STEP_BYTES) };
    }
    let taken = TAKEN.get() + buffer_bytes;
    let is_due = HEAP_STEP_BYTES < taken;
    TAKEN.set(if is_due { buffer_bytes } else { taken });
    if is_due {
        // Not optimized away: as far as the compiler knows, somebody looks at it.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(
            HEAP_STEP_BYTES,
        )));
    }
}
