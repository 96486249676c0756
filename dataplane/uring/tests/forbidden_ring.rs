//! Where io_uring is forbidden, as by Docker's default seccomp profile, the plain backend takes its place.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)] // all of this is test code

use weever_uring::{Inbound, Io, IoChoice, OpenError, Outbound, SocketIndex, bind, open};

/// Has the kernel refuse `io_uring_setup` to the calling thread from now on, with EPERM.
fn forbid_rings() {
    // BPF (seccomp(2)): load the call's number; if it is io_uring_setup answer EPERM, otherwise allow.
    let load = libc::sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let is_setup = libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: 1,
        k: u32::try_from(libc::SYS_io_uring_setup).unwrap(),
    };
    let errno = libc::EPERM.cast_unsigned();
    let refuse = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ERRNO | errno,
    };
    let allow = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let mut program = [load, is_setup, refuse, allow];
    let filter = libc::sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: both calls concern the calling thread only; the kernel copies the program, which lives here.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter),
            0
        );
    }
}

#[test]
fn the_plain_backend_takes_over_and_says_why() {
    std::thread::spawn(|| {
        forbid_rings();
        let any = ["127.0.0.1:0".parse().unwrap()];
        let error = open(bind(&any).unwrap(), IoChoice::Uring).unwrap_err();
        assert!(
            matches!(&error, OpenError::Uring { source, .. } if source.raw_os_error() == Some(libc::EPERM))
        );

        let mut media = open(bind(&any).unwrap(), IoChoice::Auto).unwrap();
        assert_eq!(media.io, Io::Syscalls);
        assert_eq!(media.fallback.as_ref().unwrap().to_string(), error.to_string());
        let own = media.local_addresses()[0];
        media.outbound.slot().unwrap()[..4].copy_from_slice(b"echo");
        media.outbound.send(SocketIndex(0), own, 4, 4);
        media.outbound.submit();
        assert_eq!(
            media
                .inbound
                .receive(8, |received| assert_eq!(received.datagram, b"echo"))
                .unwrap(),
            1
        );
    })
    .join()
    .unwrap();
}
