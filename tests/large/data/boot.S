// A boot sector: counts to some millions again and again, says so on the serial line each time, and ends the machine.
  .code16
  .globl _start
_start:
  xorw %ax, %ax
  movw %ax, %ds
  movw $200, %bp
again:
  movl $2000000, %ecx
count:
  addl %ecx, %ebx
  decl %ecx
  jnz count
  movw $text, %si
next:
  movw $0x3fd, %dx
wait:
  inb %dx, %al
  testb $0x20, %al
  jz wait
  movw $0x3f8, %dx
  lodsb
  testb %al, %al
  jz said
  outb %al, %dx
  jmp next
said:
  decw %bp
  jnz again
  movw $0xf4, %dx
  movb $0x21, %al
  outb %al, %dx
  hlt
text:
  .asciz "counted\n"
  .org 510
  .word 0xaa55
