#include "textflag.h"

// See main.go: The entry point.
TEXT weft_cni_entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL	$157, AX	// prctl(PR_SET_TIMERSLACK, 10 ms)
	MOVL	$29, DI
	MOVL	$10000000, SI
	SYSCALL

	MOVL	$302, AX	// prlimit64(0, RLIMIT_NOFILE, NULL, &limit)
	XORL	DI, DI
	MOVL	$7, SI
	XORL	DX, DX
	MOVQ	SP, R10
	SUBQ	$128, R10	// struct rlimit64: soft, hard
	MOVQ	R10, R8
	SYSCALL
	TESTQ	AX, AX
	JNE	start
	CMPQ	8(R8), $16	// nothing would raise a limit like that again
	JLS	start
	MOVQ	$3, 0(R8)

	MOVL	$302, AX	// prlimit64(0, RLIMIT_NOFILE, &limit, NULL)
	XORL	DI, DI
	MOVL	$7, SI
	MOVQ	R8, DX
	XORL	R10, R10
	SYSCALL
start:
	XORL	DX, DX
	JMP	_rt0_amd64_linux(SB)
