/* Stands for compilers and symbolic programs: trees that are built, torn down, and live on in half.
 *
 * One half of each tree stays until the next tree is built.
 */
#include "common.h"

enum { kDepth = 17, kTrees = 40 };

typedef struct Node {
  struct Node *left, *right;
  long payload[3];
} Node;

static Node* build(int depth) {
  Node* node = malloc(sizeof *node);
  if (node == NULL) fail("no memory");
  node->payload[0] = node->payload[2] = depth;
  node->left = depth > 0 ? build(depth - 1) : NULL;
  node->right = depth > 0 ? build(depth - 1) : NULL;
  return node;
}

/* The number of nodes. */
static uint64_t tear_down(Node* node, int depth) {
  if (node == NULL) return 0;
  if (node->payload[0] != depth || node->payload[2] != depth) fail("a node's content changed");
  uint64_t nodes = 1 + tear_down(node->left, depth - 1) + tear_down(node->right, depth - 1);
  free(node);
  return nodes;
}

int main(int argc, char** argv) {
  long trees = share(kTrees, argument(argc, argv, 1, 100));
  uint64_t nodes = 0;
  Node* kept = NULL;
  for (long i = 0; i < trees; i++) {
    Node* tree = build(kDepth);
    nodes += tear_down(kept, kDepth - 1);
    kept = tree->left;
    nodes += tear_down(tree->right, kDepth - 1);
    free(tree);
  }
  report_checksum(nodes + tear_down(kept, kDepth - 1));
  return 0;
}
