//! What the C library keeps of memory that was given back.
//!
//! glibc maps large blocks by themselves, so that giving one back gives it to the system. But it
//! learns: after a block of 16 MB it takes blocks of up to that size out of its arenas, of which
//! there is one for each thread, and an arena keeps what is below its top. A few documents of
//! 16 MB then cost a hundred megabytes that nobody uses. A size that is set is not learned over.

/// Sets from which size on blocks are mapped by themselves, and how much an arena keeps. Replies of
/// MongoDB, of 2 MB unless a document is larger, and buffers of messages stay in the arenas: mapping
/// each one anew cost a sixth of the program's CPU time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn set() {
    const MAPPED_BYTES: libc::c_int = 4 << 20;
    const KEPT_BYTES: libc::c_int = 8 << 20;
    const MOST_ARENAS: libc::c_int = 4;
    let set = |parameter, value| {
        #[expect(unsafe_code, reason = "the C library has no other way to be told")]
        // SAFETY: `mallopt` may be called at any time by any thread; it refuses a value that it does
        // not take.
        // A C library that does not take it goes on as it likes.
        let _accepted = unsafe { libc::mallopt(parameter, value) };
    };
    set(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
    set(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    // What is kept is kept by each of them.
    set(libc::M_ARENA_MAX, MOST_ARENAS);
}

/// Other systems have other allocators, which give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn set() {}
