#include <iostream>

unsigned long answer();

int main() { std::cout << answer() << '\n'; }
