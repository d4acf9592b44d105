#include "textflag.h"

// See main.go: The entry point.
TEXT weft_cni_entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD	$167, R8	// prctl(PR_SET_TIMERSLACK, 10 ms)
	MOVD	$29, R0
	MOVD	$10000000, R1
	SVC

	MOVD	$261, R8	// prlimit64(0, RLIMIT_NOFILE, NULL, &limit)
	MOVD	$0, R0
	MOVD	$7, R1
	MOVD	$0, R2
	MOVD	RSP, R3
	SUB	$128, R3, R3	// struct rlimit64: soft, hard
	MOVD	R3, R9
	SVC
	CBNZ	R0, start
	MOVD	8(R9), R4
	CMP	$16, R4		// nothing would raise a limit like that again
	BLS	start
	MOVD	$3, R4
	MOVD	R4, 0(R9)

	MOVD	$261, R8	// prlimit64(0, RLIMIT_NOFILE, &limit, NULL)
	MOVD	$0, R0
	MOVD	$7, R1
	MOVD	R9, R2
	MOVD	$0, R3
	SVC
start:
	MOVD	$0, R0
	JMP	_rt0_arm64_linux(SB)
