/* A program that does nothing wrong. */
int main(void) { return 0; }
