// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>

int main()
{
	std::ofstream("c++.out") << "hello\n";
	std::filesystem::create_directories("c++/deep");
	std::filesystem::rename("c++.out", "c++/deep/out");
	std::filesystem::copy("c++/deep/out", "c++/copy");
	std::filesystem::resize_file("c++/copy", 3);
	std::filesystem::permissions("c++/copy", std::filesystem::perms::owner_read);
}
