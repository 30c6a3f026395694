//! Patches against the pages that they were made of, and against bytes that nobody made.

use super::super::image::{ImageMaker, full_page};
use super::*;
use crate::ids::PageNo;
use proptest::prelude::*;

const SIZE: PageSize = PageSize::MIN;
const LSN: Lsn = Lsn::new(8192);

fn base(old: &[u8], image: Option<(Lsn, ImageForm)>) -> PatchBase {
    PatchBase {
        version: LSN,
        hash: PageHash::of(PageNo::FIRST, old),
        image,
    }
}

fn raw_base(old: &[u8], size: PageSize) -> PatchBase {
    base(old, Some((LSN, ImageForm::raw(size))))
}

/// The image of a patch, if there is one within `limit` bytes.
fn patch(base: &PatchBase, old: &[u8], new: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out = vec![1, 2, 3];
    let depth = PatchMaker::default().make(base, old, new, limit, &mut out)?;
    assert_eq!(Some(depth), base.depth_above());
    assert!(out.len() - 3 <= limit);
    Some(out.split_off(3))
}

fn applied(image: &[u8], old: &[u8], size: PageSize) -> Result<Vec<u8>, Reject> {
    let patch = Patch::parse(image, size)?;
    let mut page = old.to_vec();
    patch.apply(&mut page);
    Ok(page)
}

/// A page that no compressor makes smaller.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn near_differences_are_one_run_and_far_ones_are_two() {
    let old = noise(1, 512);
    let runs = |places: &[usize]| {
        let mut new = old.clone();
        for at in places {
            new[*at] ^= 0x80;
        }
        let image = patch(&raw_base(&old, SIZE), &old, &new, 400).unwrap();
        assert_eq!(applied(&image, &old, SIZE).unwrap(), new);
        Patch::parse(&image, SIZE).unwrap().runs.count()
    };
    assert_eq!(runs(&[]), 0);
    assert_eq!(runs(&[0]), 1);
    assert_eq!(runs(&[511]), 1);
    assert_eq!(runs(&[5, 10]), 1, "four equal bytes between");
    assert_eq!(runs(&[7, 13]), 2, "five equal bytes between");
    assert_eq!(runs(&[62, 66]), 1, "across the lines of the comparison");
    assert_eq!(runs(&[0, 100, 200, 511]), 4);
}

#[test]
fn the_whole_of_the_largest_page_can_differ() {
    let size = PageSize::MAX;
    let old = vec![0; size.bytes()];
    let mut new = old.clone();
    new[1..].fill(9);
    let image = patch(&raw_base(&old, size), &old, &new, 1 << 20).unwrap();
    assert_eq!(image.len(), 40 + 4 + 65_535);
    // No image is larger than its page, but the runs of one must be right all the same.
    assert_eq!(applied(&image, &old, size).unwrap(), new);
    new[0] = 9;
    assert_eq!(patch(&raw_base(&old, size), &old, &new, 1 << 20), None);
}

#[test]
fn a_patch_over_the_limit_or_on_a_full_chain_is_none() {
    let (old, mut new) = (noise(1, 512), noise(1, 512));
    new[100..150].copy_from_slice(&noise(2, 50));
    let whole = patch(&raw_base(&old, SIZE), &old, &new, 512).unwrap().len();
    assert!(patch(&raw_base(&old, SIZE), &old, &new, whole).is_some());
    assert!(patch(&raw_base(&old, SIZE), &old, &new, whole - 1).is_none());
    assert!(patch(&raw_base(&old, SIZE), &old[..511], &new, 512).is_none());
    for depth in 0..=PATCH_CHAIN_MAX {
        let encoding = [Encoding::Raw, Encoding::Patch][usize::from(depth > 0)];
        let bytes = [512, 100][usize::from(depth > 0)];
        let form = ImageForm::believed(encoding, bytes, depth, SIZE).unwrap();
        let made = patch(&base(&old, Some((LSN, form))), &old, &new, 512);
        assert_eq!(made.is_some(), depth < PATCH_CHAIN_MAX, "on depth {depth}");
        if let Some(image) = made {
            let read = Patch::parse(&image, SIZE).unwrap().base();
            assert_eq!(read, base(&old, Some((LSN, form))));
        }
    }
}

#[test]
fn the_maker_prefers_a_patch_then_lz4_then_the_page() {
    let size = PageSize::DEFAULT;
    let old = noise(1, 4096);
    let below = raw_base(&old, size);
    let mut maker = ImageMaker::new(size);
    let mut check = |content: &[u8], based: bool, encoding: Encoding, bytes_max: usize| {
        let image = maker.make(content, based.then_some((&below, &old[..])));
        assert_eq!(image.form.encoding(), encoding);
        let bytes = maker.bytes(&image, content);
        assert_eq!(bytes.len(), image.form.bytes());
        assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
        match encoding {
            Encoding::Patch => assert_eq!(applied(bytes, &old, size).unwrap(), content),
            _ => assert_eq!(*full_page(image.form, bytes, size).unwrap(), *content),
        }
    };
    let mut near = old.clone();
    near[1000..1100].fill(3);
    check(&near, true, Encoding::Patch, 40 + 4 + 100);
    check(&near, false, Encoding::Raw, 4096);
    let mut far = old.clone();
    far[..2048].fill(3);
    check(&far, true, Encoding::Lz4, 2200);
    far[..2048].copy_from_slice(&noise(2, 2048));
    check(&far, true, Encoding::Raw, 4096);
    check(&[7; 4096], false, Encoding::Lz4, 64);
    // Whether it is worth it is told by the last quarter of each quarter of the page.
    let mut looks_full = vec![0; 4096];
    for (seed, quarter) in (3..).zip(looks_full.chunks_mut(1024)) {
        quarter[768..].copy_from_slice(&noise(seed, 256));
    }
    check(&looks_full, false, Encoding::Raw, 4096);
    looks_full[4095 - 256..].fill(0);
    looks_full[3071 - 256..3072].fill(0);
    check(&looks_full, false, Encoding::Lz4, 1000);
}

/// Of a record alone: the next one is tried as ever.
#[test]
fn after_many_pages_that_do_not_compress_few_are_tried_until_one_does() {
    let size = PageSize::DEFAULT;
    let mut maker = ImageMaker::new(size);
    let raw = |maker: &mut ImageMaker, content: &[u8], pages: usize| {
        let made = (0..pages).map(|_| maker.make(content, None).form.encoding());
        made.filter(|encoding| *encoding == Encoding::Raw).count()
    };
    let random = noise(1, 4096);
    for _ in 0..2 {
        maker.reset(size);
        assert_eq!(raw(&mut maker, &random, 8), 8);
        assert_eq!(raw(&mut maker, &[7; 4096], 20), 0, "the ninth is tried");
        assert_eq!(raw(&mut maker, &random, 9), 9);
        assert_eq!(
            raw(&mut maker, &[7; 4096], 20),
            7,
            "the next one is the 17th"
        );
    }
}

/// A page that stands as it is has its own length; what was made of one is shorter.
#[test]
fn an_image_has_a_length_that_its_encoding_can_have() {
    let size = SIZE.bytes();
    for (encoding, sound) in [
        (Encoding::Raw, vec![size]),
        (Encoding::Lz4, vec![1, size - 1]),
        (Encoding::Patch, vec![1, size - 1]),
    ] {
        for bytes in [0, 1, size - 1, size, size + 1] {
            let form = ImageForm::believed(encoding, bytes, 0, SIZE);
            let context = format!("{encoding:?} of {bytes} bytes");
            assert_eq!(form.is_ok(), sound.contains(&bytes), "{context}");
            let told = form.map_or(bytes, ImageForm::bytes);
            assert_eq!(told, bytes, "{context}");
        }
    }
    assert!(full_page(ImageForm::raw(SIZE), &[0; 511], SIZE).is_err());
    let patch = ImageForm::believed(Encoding::Patch, 50, 1, SIZE).unwrap();
    assert!(full_page(patch, &[0; 50], SIZE).is_err());
}

#[test]
fn a_maker_goes_on_with_pages_of_another_size() {
    let (small, large) = (PageSize::MIN, PageSize::DEFAULT);
    let mut maker = ImageMaker::new(small);
    assert_eq!(maker.made_capacity_bytes(), 0);
    for size in [small, large, large, small] {
        maker.reset(size);
        for content in [vec![7; size.bytes()], noise(1, size.bytes())] {
            let image = maker.make(&content, None);
            let bytes = maker.bytes(&image, &content);
            assert_eq!(bytes.len(), image.form.bytes());
            assert_eq!(*full_page(image.form, bytes, size).unwrap(), *content);
        }
        assert!(0 < maker.made_capacity_bytes());
    }
}

#[test]
fn every_flipped_bit_of_a_patch_is_an_error() {
    let old = noise(1, 512);
    let mut new = old.clone();
    new[3..20].fill(1);
    new[300..310].fill(2);
    let image = patch(&raw_base(&old, SIZE), &old, &new, 128).unwrap();
    for bit in 0..image.len() * 8 {
        let mut flipped = image.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Patch::parse(&flipped, SIZE).is_err(), "bit {bit}");
    }
}

fn seal(image: &mut [u8]) {
    if image.len() >= 40 {
        let sum = checksum(image).to_le_bytes();
        image[..8].copy_from_slice(&sum);
    }
}

/// Changes the header and the runs of a sound patch to what no encoder makes.
#[test]
fn hostile_numbers_in_a_patch_are_refused() {
    let old = noise(1, 512);
    let mut new = old.clone();
    (new[3], new[100], new[500]) = (!old[3], !old[100], !old[500]);
    let image = patch(&raw_base(&old, SIZE), &old, &new, 128).unwrap();
    assert_eq!(image.len(), 40 + 3 * 4 + 3);
    let refused = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = image.clone();
        change(&mut changed);
        seal(&mut changed);
        let found = Patch::parse(&changed, SIZE);
        assert!(
            matches!(found, Err(Reject::Invalid(_) | Reject::Truncated { .. })),
            "{what}: {found:?}"
        );
    };
    refused("no runs that were there", &|image| image[38] = 0);
    refused("runs that are not there", &|image| image[38] = 4);
    refused("more runs than bytes", &|image| image[38..40].fill(0xff));
    refused("no depth", &|image| image[37] = 0);
    refused("too deep", &|image| image[37] = 5);
    refused("deep, on a full image", &|image| image[37] = 2);
    refused("an unknown encoding", &|image| image[36] = 3);
    refused("a patch below that is none", &|image| image[36] = 2);
    refused("a base of no length", &|image| image[32..36].fill(0));
    refused("a base of another length", &|image| image[32] = 1);
    refused("a base without a place", &|image| image[16..24].fill(0));
    refused("a version past all", &|image| image[8..16].fill(0xff));
    refused("a place past all", &|image| image[16..24].fill(0xff));
    let limit = Lsn::LIMIT.get().to_le_bytes();
    refused("the first version that is none", &|image| {
        image[8..16].copy_from_slice(&limit)
    });
    refused("the first place that is none", &|image| {
        image[16..24].copy_from_slice(&limit)
    });
    refused("an empty run", &|image| image[42] = 0);
    refused(
        "an empty run, and as many bytes as the others have",
        &|image| {
            image[42] = 0;
            image.pop();
        },
    );
    refused("a long run", &|image| image[42..44].fill(0xff));
    refused("runs out of order", &|image| image[40] = 200);
    refused("runs that are one", &|image| image[40] = 99);
    refused("a run past the page", &|image| image[48..50].fill(0xff));
    refused("a byte too many", &|image| image.push(0));
    refused("a byte too few", &|image| image.truncate(54));
    for bytes in 0..image.len() {
        let mut short = image[..bytes].to_vec();
        seal(&mut short);
        assert!(Patch::parse(&short, SIZE).is_err(), "{bytes}");
    }
}

fn sizes() -> impl Strategy<Value = PageSize> {
    (9..=16_u32).prop_map(|shift| PageSize::new(1 << shift).unwrap())
}

proptest! {
    /// Whatever was changed: the patch makes the page of its base, and is no larger than it may be.
    #[test]
    fn a_patch_makes_the_page(
        size in sizes(),
        seed in any::<u64>(),
        writes in prop::collection::vec((any::<u32>(), 1..300_usize, any::<u8>()), 0..12),
    ) {
        let old = noise(seed, size.bytes());
        let mut new = old.clone();
        for (at, bytes, fill) in writes {
            let at = at as usize % new.len();
            let end = (at + bytes).min(new.len());
            new[at..end].fill(fill);
        }
        let limit = size.bytes() / 4;
        let differing = old.iter().zip(&new).filter(|(a, b)| a != b).count();
        let below = raw_base(&old, size);
        match patch(&below, &old, &new, limit) {
            Some(image) => prop_assert_eq!(applied(&image, &old, size).unwrap(), new),
            // Each run costs four bytes, and there are at most as many as there are bytes.
            None => prop_assert!(limit < 40 + 5 * differing),
        }
    }

    /// No bytes make a panic, or a page of another length.
    #[test]
    fn bytes_that_are_no_patch_do_no_harm(
        size in sizes(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        runs in 0..40_u8,
    ) {
        if let Some(header) = bytes.get_mut(..40) {
            header[14..24].fill(0);
            header[32..40].copy_from_slice(&[0, 0, 0, 0, 0, 1, runs, 0]);
        }
        seal(&mut bytes);
        let mut page = vec![0; size.bytes()];
        if let Ok(patch) = Patch::parse(&bytes, size) {
            patch.apply(&mut page);
        }
        prop_assert_eq!(page.len(), size.bytes());
    }
}
