! SPDX-License-Identifier: Apache-2.0
program hello
  integer :: i
  real(8) :: field(100)
  field = 1.5d0
  open(10, file='text.out')
  write(10, '(a)') 'hello'
  open(11, file='unformatted.out', form='unformatted')
  write(11) field
  open(12, file='direct.out', access='direct', form='unformatted', recl=80)
  do i = 10, 1, -1
    write(12, rec=i) field(1:10)
  end do
  open(13, file='scratch.out')
  write(13, *) field
  close(13, status='delete')
  close(12)
  ! units 10 and 11 stay open
end program hello
