//! The program by which the kernel tells the supervisor of the calls in the table and lets all others pass.

use super::calls::{Call, When};

/// `AUDIT_ARCH_*` of this machine: numbers of calls mean something under their own architecture only.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of this machine: numbers of calls mean something under their own architecture only.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

type Instruction = libc::sock_filter;

const fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Goes on with the next instruction when the test holds, and otherwise skips `otherwise` instructions.
const fn test(code: u16, k: u32, otherwise: u8) -> Instruction {
    Instruction { code, jt: 0, jf: otherwise, k }
}

/// Notifies of `calls`. Numbers of another architecture, which a 64-bit process can use as well, pass.
pub(super) fn program(calls: &[Call]) -> Vec<Instruction> {
    let notify = step(RETURN, libc::SECCOMP_RET_USER_NOTIF);
    let allow = step(RETURN, libc::SECCOMP_RET_ALLOW);
    let own = Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: ARCHITECTURE };
    let mut program = vec![step(LOAD, ARCH), own, allow, step(LOAD, NUMBER)];
    for call in calls {
        let number = u32::try_from(call.number).expect("numbers of calls are small");
        match call.when {
            When::Always => program.extend([test(JUMP_EQUAL, number, 1), notify]),
            When::Any(place, bits) => program.extend([
                test(JUMP_EQUAL, number, 4),
                step(LOAD, argument(place)),
                test(JUMP_ANY, bits, 1),
                notify,
                allow,
            ]),
            When::Is(place, value) => program.extend([
                test(JUMP_EQUAL, number, 4),
                step(LOAD, argument(place)),
                test(JUMP_EQUAL, value, 1),
                notify,
                allow,
            ]),
        }
    }
    program.push(allow);
    program
}

/// The low half of an argument; both machines are little-endian.
fn argument(place: usize) -> u32 {
    ARGUMENTS + 8 * u32::try_from(place).expect("there are six arguments")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::calls::CALLS;
    use super::*;

    /// What the kernel would do: a machine with one register.
    fn run(program: &[Instruction], arch: u32, number: libc::c_long, args: [u32; 6]) -> u32 {
        let mut data = vec![u32::try_from(number).unwrap(), arch, 0, 0];
        data.extend(args.iter().flat_map(|&argument| [argument, 0]));
        let (mut at, mut register) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let skip = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => register = data[usize::try_from(k).unwrap() / 4],
                JUMP_EQUAL => at += skip(register == k),
                JUMP_ANY => at += skip(register & k != 0),
                RETURN => return k,
                other => panic!("no instruction of ours: {other}"),
            }
        }
    }

    #[rstest]
    #[case::always(libc::SYS_mkdirat, [0; 6], true)]
    #[case::never(libc::SYS_read, [0; 6], false)]
    #[case::opened_for_reading(libc::SYS_openat, [0, 0, libc::O_CLOEXEC as u32, 0, 0, 0], false)]
    #[case::opened_for_writing(libc::SYS_openat, [0, 0, libc::O_WRONLY as u32, 0, 0, 0], true)]
    #[case::created(libc::SYS_openat, [0, 0, libc::O_CREAT as u32, 0, 0, 0], true)]
    #[case::subreaper(libc::SYS_prctl, [libc::PR_SET_CHILD_SUBREAPER as u32, 1, 0, 0, 0, 0], true)]
    #[case::another_prctl(libc::SYS_prctl, [libc::PR_SET_NAME as u32, 1, 0, 0, 0, 0], false)]
    fn the_table_decides(#[case] number: libc::c_long, #[case] args: [u32; 6], #[case] notified: bool) {
        let wanted = if notified { libc::SECCOMP_RET_USER_NOTIF } else { libc::SECCOMP_RET_ALLOW };
        assert_eq!(run(&program(CALLS), ARCHITECTURE, number, args), wanted);
    }

    #[test]
    fn every_row_is_reached() {
        for call in CALLS {
            let mut args = [0; 6];
            match call.when {
                When::Always => {}
                When::Any(place, value) | When::Is(place, value) => args[place] = value,
            }
            let does = run(&program(CALLS), ARCHITECTURE, call.number, args);
            assert_eq!(does, libc::SECCOMP_RET_USER_NOTIF, "{}", call.name);
        }
    }

    #[test]
    fn numbers_of_another_architecture_pass() {
        assert_eq!(run(&program(CALLS), 0x4000_0003, libc::SYS_mkdirat, [0; 6]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn the_kernel_takes_a_program_of_this_length() {
        assert!(program(CALLS).len() < 4096);
    }
}
