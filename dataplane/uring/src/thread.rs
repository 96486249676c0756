//! The thread that a worker runs on: its core and its CPU time.
#![allow(unsafe_code)]

use std::io;

/// Cores that this process may run on, ascending. Empty when the kernel won't say.
pub fn available_cpus() -> Vec<usize> {
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size given to `set`, which is that large.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Vec::new();
    }
    let cpus = 8 * size_of_val(&set);
    // SAFETY: `cpu` is below the number of bits of the set.
    (0..cpus)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// The core doesn't exist, or the process may not use it.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: as in `available_cpus`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= 8 * size_of_val(&set) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("there is no core {cpu}"),
        ));
    }
    // SAFETY: `cpu` is below the number of bits of the set (checked above).
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads the size given from `set`; 0 names the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// CPU time that the calling thread has used, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec`, which lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_each_available_core_and_to_no_other() {
        let cpus = available_cpus();
        assert!(!cpus.is_empty());
        std::thread::spawn(move || {
            for cpu in cpus {
                pin_to_cpu(cpu).unwrap();
                assert_eq!(available_cpus(), [cpu]);
            }
            assert!(pin_to_cpu(1_000_000).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = thread_cpu_ns();
        let mut sum = 0u64;
        while thread_cpu_ns() < before + 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(thread_cpu_ns() > before);
    }
}
