//go:build 386 || arm || mips || mipsle

package store

// The memory map needs a 64-bit address space: this line does not compile elsewhere.
const _ uint32 = "tidemark needs a 64-bit platform"
