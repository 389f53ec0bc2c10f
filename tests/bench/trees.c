/* Building and tearing down trees, the larger half of each living on for a while. Stands for compilers
 * and symbolic programs. */
#include <stdlib.h>

typedef struct Node {
  struct Node *left, *right;
  long payload[3];
} Node;

static Node *build(int depth) {
  Node *node = malloc(sizeof *node);
  node->payload[0] = depth;
  node->left = depth > 0 ? build(depth - 1) : NULL;
  node->right = depth > 0 ? build(depth - 1) : NULL;
  return node;
}

static void tear_down(Node *node) {
  if (node == NULL) return;
  tear_down(node->left);
  tear_down(node->right);
  free(node);
}

int main(void) {
  enum { kDepth = 18, kRounds = 24 };
  Node *kept = NULL;
  for (int round = 0; round < kRounds; round++) {
    Node *tree = build(kDepth);
    tear_down(kept);
    kept = tree->left;
    tear_down(tree->right);
    free(tree);
  }
  tear_down(kept);
  return 0;
}
