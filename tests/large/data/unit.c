// A part of the program: forty functions, one after the other, and then the next part.
unsigned @NEXT@(unsigned x, const unsigned* table);

@STEPS@

unsigned @NAME@(unsigned x, const unsigned* table) {
@CALLS@
  return @NEXT@(x, table);
}
